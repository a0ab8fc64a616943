// SPDX-License-Identifier: Apache-2.0

// Package rulejob builds the Jobs that run the rule-writer on a pod's node, and
// evaluates their results. It is pure.
package rulejob

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

const (
	// ContainerName is the name of the rule-writer's container.
	ContainerName = "rule-writer"
	// RequestDir is the directory of RequestFile in the container.
	RequestDir = "/etc/meshvm/request"
	// RequestFile is the name of the file that contains the request.
	RequestFile = "request.json"

	// DefaultPriorityClassName allows the kubelet to start the pod on a full
	// node, where a guest without rules would bypass the mesh.
	DefaultPriorityClassName = "system-node-critical"

	labelName = "app.kubernetes.io/name"
	appName   = "meshvm-rule-writer"

	requestVolume = "request"

	// deadline is the maximum run time of a Job in seconds. It includes delays,
	// such as pulling the image, or a node that does not respond.
	deadline = 120
	// resultTTL is the time in seconds after which Kubernetes deletes an ended
	// Job. Normally the controller deletes it when the status contains the
	// result.
	resultTTL = 3600
	// gracePeriod is the termination grace period in seconds. It is short,
	// because the rule-writer changes the rules in one transaction and does not
	// need to clean up.
	gracePeriod = 1
)

// Config contains the installation's settings for rule-writer Jobs.
type Config struct {
	// Namespace is the operator's namespace.
	Namespace string
	// Image is the rule-writer's image.
	Image string
	// TracerImage is the image of the tracer.
	TracerImage string
	// ServiceAccount is the service account of the pods. It has no RBAC
	// permissions.
	ServiceAccount string
	// ImagePullPolicy is the pull policy, empty for the API server's default.
	ImagePullPolicy corev1.PullPolicy
	// ImagePullSecrets are names of Secrets in Namespace.
	ImagePullSecrets []string
	// PriorityClassName is the priority class of the pods. Defaults to
	// DefaultPriorityClassName.
	PriorityClassName string
}

// Maximum lengths of the parts of a Job's name. With the suffix of its pod, 34 + 1
// + 10 + 1 + 10 characters fit in the 63 characters of a label value.
const (
	namePrefixLength = 34
	nameHashLength   = 10
)

// JobName returns the name of the Job for one request of one PodNATConfiguration.
// It contains a hash of the UID, because PodNATConfigurations of different
// namespaces can have the same name, and all Jobs are in the operator's namespace.
// A repair repeats the request of an earlier Job under another name.
func JobName(config *v1alpha1.PodNATConfiguration, requestDigest string) string {
	if config == nil {
		return ""
	}
	if n := config.Status.Repairs.Count; n > 0 {
		requestDigest = ruleio.DigestOf(fmt.Appendf(nil, "%s/%d", requestDigest, n))
	}
	prefix := config.Name
	if len(prefix) > namePrefixLength {
		prefix = prefix[:namePrefixLength]
	}
	return strings.Join([]string{
		strings.TrimRight(prefix, "-."),
		shortHash(string(config.UID)),
		requestDigest[:min(nameHashLength, len(requestDigest))],
	}, "-")
}

// Build returns the Job that runs the rule-writer with the request on the node.
func Build(cfg Config, config *v1alpha1.PodNATConfiguration, nodeName string, req ruleio.Request) (*batchv1.Job, error) {
	switch {
	case config == nil || config.UID == "":
		return nil, errors.New("build rule-writer job: the PodNATConfiguration has no UID")
	case nodeName == "":
		return nil, errors.New("build rule-writer job: the name of the node is required")
	case cfg.Image == "" || cfg.Namespace == "":
		return nil, errors.New("build rule-writer job: image and namespace are required")
	}
	encoded, err := req.Encode()
	if err != nil {
		return nil, fmt.Errorf("build rule-writer job: %w", err)
	}
	if _, err := ruleio.DecodeRequest(encoded); err != nil {
		return nil, fmt.Errorf("build rule-writer job: %w", err)
	}
	labels := map[string]string{
		labelName:                         appName,
		v1alpha1.LabelManagedBy:           v1alpha1.ManagedByValue,
		v1alpha1.LabelPodNATConfiguration: string(config.UID),
	}
	owner := map[string]string{v1alpha1.AnnotationRuleOwner: config.Namespace + "/" + config.Name}
	return jobOf(cfg, JobName(config, ruleio.DigestOf(encoded)), nodeName, labels, owner, string(encoded)), nil
}

// Labels returns labels of every rule-writer Job and its pod.
func Labels() map[string]string { return map[string]string{labelName: appName} }

// jobOf returns a Job that runs the rule-writer once on the node.
func jobOf(cfg Config, name, nodeName string, labels, annotations map[string]string, request string) *batchv1.Job {
	return &batchv1.Job{
		TypeMeta: metav1.TypeMeta{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: "Job"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace:   cfg.Namespace,
			Name:        name,
			Labels:      labels,
			Annotations: annotations,
		},
		Spec: batchv1.JobSpec{
			Completions: ptr.To[int32](1),
			Parallelism: ptr.To[int32](1),
			// The controller retries: it counts the attempts, backs off, and
			// reads the pod before each attempt.
			BackoffLimit:            ptr.To[int32](0),
			ActiveDeadlineSeconds:   ptr.To[int64](deadline),
			TTLSecondsAfterFinished: ptr.To[int32](resultTTL),
			PodReplacementPolicy:    ptr.To(batchv1.Failed),
			PodFailurePolicy:        failurePolicy(),
			Template:                podTemplate(cfg, nodeName, labels, annotations, request),
		},
	}
}

// failurePolicy maps the exit codes of the rule-writer to actions of the Job. The
// Job replaces a pod that was disrupted, for example by an eviction, without
// counting a failure.
func failurePolicy() *batchv1.PodFailurePolicy {
	onExit := func(action batchv1.PodFailurePolicyAction, codes ...int32) batchv1.PodFailurePolicyRule {
		return batchv1.PodFailurePolicyRule{
			Action: action,
			OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{
				ContainerName: new(ContainerName),
				Operator:      batchv1.PodFailurePolicyOnExitCodesOpIn,
				Values:        codes,
			},
		}
	}
	return &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{
		onExit(batchv1.PodFailurePolicyActionFailJob, int32(ruleio.ExitTerminal), int32(ruleio.ExitTargetGone)),
		onExit(batchv1.PodFailurePolicyActionCount, int32(ruleio.ExitRetryable)),
		{
			Action: batchv1.PodFailurePolicyActionIgnore,
			OnPodConditions: []batchv1.PodFailurePolicyOnPodConditionsPattern{{
				Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			}},
		},
	}}
}

func podTemplate(cfg Config, nodeName string, labels, owner map[string]string, request string) corev1.PodTemplateSpec {
	podLabels := map[string]string{
		// A sidecar would prevent the Job from completing.
		v1alpha1.LabelSidecarInject: "false",
		// istio-cni does not enroll the pod in ambient mode (Istio, api/label).
		v1alpha1.LabelDataPlaneMode: "none",
	}
	maps.Copy(podLabels, labels)
	annotations := map[string]string{
		v1alpha1.LabelSidecarInject:    "false",
		v1alpha1.AnnotationRuleRequest: request,
	}
	maps.Copy(annotations, owner)
	priority := cfg.PriorityClassName
	if priority == "" {
		priority = DefaultPriorityClassName
	}
	secrets := make([]corev1.LocalObjectReference, 0, len(cfg.ImagePullSecrets))
	for _, s := range cfg.ImagePullSecrets {
		secrets = append(secrets, corev1.LocalObjectReference{Name: s})
	}
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: podLabels, Annotations: annotations},
		Spec: corev1.PodSpec{
			NodeName:                      nodeName,
			HostPID:                       true,
			ServiceAccountName:            cfg.ServiceAccount,
			AutomountServiceAccountToken:  new(false),
			EnableServiceLinks:            new(false),
			RestartPolicy:                 corev1.RestartPolicyNever,
			TerminationGracePeriodSeconds: ptr.To[int64](gracePeriod),
			PriorityClassName:             priority,
			ImagePullSecrets:              secrets,
			Tolerations:                   []corev1.Toleration{{Operator: corev1.TolerationOpExists}},
			Containers:                    []corev1.Container{container(cfg)},
			Volumes:                       []corev1.Volume{requestFromAnnotation()},
		},
	}
}

func container(cfg Config) corev1.Container {
	return corev1.Container{
		Name:            ContainerName,
		Image:           cfg.Image,
		ImagePullPolicy: cfg.ImagePullPolicy,
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{
				corev1.ResourceCPU:    resource.MustParse("10m"),
				corev1.ResourceMemory: resource.MustParse("16Mi"),
			},
			Limits: corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")},
		},
		// NET_ADMIN is required to write the rules, SYS_ADMIN to enter the pod's
		// network namespace, and SYS_PTRACE to identify the namespace (setns(2),
		// namespaces(7)).
		SecurityContext: &corev1.SecurityContext{
			RunAsUser:                ptr.To[int64](0),
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			// With SELinux, the type container_t cannot read processes of other
			// pods. Node agents use spc_t.
			SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"},
			// The container runtime's AppArmor profile denies access to
			// processes with another profile, and so to namespaces of other pods.
			AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined},
			Capabilities: &corev1.Capabilities{
				Drop: []corev1.Capability{"ALL"},
				Add:  []corev1.Capability{"NET_ADMIN", "SYS_ADMIN", "SYS_PTRACE"},
			},
		},
		TerminationMessagePath:   corev1.TerminationMessagePathDefault,
		TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		VolumeMounts:             []corev1.VolumeMount{{Name: requestVolume, MountPath: RequestDir, ReadOnly: true}},
	}
}

func requestFromAnnotation() corev1.Volume {
	return corev1.Volume{
		Name: requestVolume,
		VolumeSource: corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{
			Items: []corev1.DownwardAPIVolumeFile{{
				Path:     RequestFile,
				FieldRef: &corev1.ObjectFieldSelector{FieldPath: fmt.Sprintf("metadata.annotations['%s']", v1alpha1.AnnotationRuleRequest)},
			}},
		}},
	}
}
