// SPDX-License-Identifier: Apache-2.0

// Package rulejob builds the Job that runs the rule-writer on a pod's node and
// reads how it ended. It is pure.
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
	// RequestDir is where the container finds RequestFile.
	RequestDir = "/etc/meshvm/request"
	// RequestFile is the name of the file that holds the request.
	RequestFile = "request.json"

	// DefaultPriorityClassName lets the kubelet start the pod on a full node
	// too: without rules the guest there is outside the mesh.
	DefaultPriorityClassName = "system-node-critical"

	labelName = "app.kubernetes.io/name"
	appName   = "meshvm-rule-writer"

	requestVolume = "request"

	// deadlineSeconds bounds a Job with all that may hold it up: pulling the
	// image, or a node that does not answer.
	deadlineSeconds = 120
	// ttlSeconds is a safety net: the controller deletes a Job as soon as it
	// has recorded the result.
	ttlSeconds = 3600
	// graceSeconds is short, because the rule-writer changes the kernel in one
	// transaction: there is nothing to clean up.
	graceSeconds = 1
)

// Config is what an installation decides about rule-writer Jobs.
type Config struct {
	// Namespace is the operator's own namespace.
	Namespace string
	// Image is the rule-writer's image.
	Image string
	// ServiceAccount runs the rule-writer; it has no rights in the API.
	ServiceAccount string
	// ImagePullPolicy is empty for the API server's default.
	ImagePullPolicy corev1.PullPolicy
	// ImagePullSecrets name secrets in Namespace.
	ImagePullSecrets []string
	// PriorityClassName is DefaultPriorityClassName when empty.
	PriorityClassName string
}

// Lengths of the parts of a Job's name: 34 + 1 + 10 + 1 + 10 leaves room for
// the suffix of its pod within the 63 characters of a label's value.
const (
	namePrefixLength = 34
	nameHashLength   = 10
)

// JobName is the name of the Job for one request of one PodNATConfiguration.
// Job and PodNATConfiguration live in different namespaces, so that only the
// UID shows two of the same name apart. A repair asks for what an earlier Job
// did, and is another Job.
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

// Build makes the Job that carries out req on the node.
func Build(cfg Config, config *v1alpha1.PodNATConfiguration, nodeName string, req ruleio.Request) (*batchv1.Job, error) {
	switch {
	case config == nil || config.UID == "":
		return nil, errors.New("build rule-writer job: the PodNATConfiguration has no UID")
	case nodeName == "":
		return nil, errors.New("build rule-writer job: no node named")
	case cfg.Image == "" || cfg.Namespace == "":
		return nil, errors.New("build rule-writer job: no image or namespace configured")
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

// Labels are on every rule-writer Job and its pod.
func Labels() map[string]string { return map[string]string{labelName: appName} }

// jobOf runs the rule-writer once on the node.
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
			// Repeats are the controller's business: it counts them, backs
			// off, and looks at the pod again before each.
			BackoffLimit:            ptr.To[int32](0),
			ActiveDeadlineSeconds:   ptr.To[int64](deadlineSeconds),
			TTLSecondsAfterFinished: ptr.To[int32](ttlSeconds),
			PodReplacementPolicy:    ptr.To(batchv1.Failed),
			PodFailurePolicy:        failurePolicy(),
			Template:                podTemplate(cfg, nodeName, labels, annotations, request),
		},
	}
}

// failurePolicy maps the rule-writer's exit classes. A pod that the node
// itself ended, for example by eviction, is replaced without counting.
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
		// A sidecar would keep the Job from ever being complete.
		v1alpha1.LabelSidecarInject: "false",
		// Nor is it a pod for an ambient mesh (Istio, api/label).
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
			TerminationGracePeriodSeconds: ptr.To[int64](graceSeconds),
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
		// NET_ADMIN writes the rules, SYS_ADMIN enters the pod's network
		// namespace, SYS_PTRACE reads whose namespace it is (setns(2),
		// namespaces(7)).
		SecurityContext: &corev1.SecurityContext{
			RunAsUser:                ptr.To[int64](0),
			AllowPrivilegeEscalation: new(false),
			ReadOnlyRootFilesystem:   new(true),
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			// On a node with SELinux the type container_t may not look at
			// other pods' processes; spc_t is what node agents use.
			SELinuxOptions: &corev1.SELinuxOptions{Type: "spc_t"},
			// The runtime's own AppArmor profile denies access to
			// processes of another profile, and so at other pods' namespaces.
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
