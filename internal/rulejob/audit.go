// SPDX-License-Identifier: Apache-2.0

package rulejob

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

const (
	// MaxAuditTargets is the maximum number of targets of an audit Job. Their
	// results fit in a termination message even if all targets have drifted, and
	// usually with the states of their proxies.
	MaxAuditTargets = 8
	// maxAuditBytes is the maximum size of the targets in the annotations of a
	// pod, which are limited to 256 KiB in total.
	maxAuditBytes = 160 << 10
	// auditResultTTL is resultTTL of an audit Job, in seconds. It is shorter,
	// because the next audit repeats a lost result.
	auditResultTTL = 600
	// auditNodeLength is the number of characters of the node's name in the name
	// of a Job.
	auditNodeLength = 24
)

// AuditEntry identifies the PodNATConfiguration of a target, and its status when
// the audit Job was created. A result for an earlier status is ignored.
type AuditEntry struct {
	// Config is NAMESPACE/NAME of the PodNATConfiguration.
	Config string `json:"config"`
	// UID is its UID.
	UID types.UID `json:"uid"`
	// RequestDigest is its status.applied.requestDigest.
	RequestDigest string `json:"requestDigest"`
	// Repair is its status.applied.repair.
	Repair int32 `json:"repair,omitempty"`
	// Counters is its status.applied.counters. The counters of the result are
	// added only to a status that still contains these, so that no packet is
	// counted twice.
	Counters v1alpha1.TrafficCounters `json:"counters,omitzero"`
	// ProxyStarted is the time at which the pod's sidecar was started, if it was ready.
	ProxyStarted *metav1.Time `json:"proxyStarted,omitempty"`
	// Policies is PoliciesOf the configuration.
	Policies string `json:"policies,omitempty"`
}

// EntryOf returns the entry for the current status of a PodNATConfiguration.
func EntryOf(config *v1alpha1.PodNATConfiguration) AuditEntry {
	a := config.Status.Applied
	return AuditEntry{
		Config: config.Namespace + "/" + config.Name, UID: config.UID,
		RequestDigest: a.RequestDigest, Repair: a.Repair, Counters: a.Counters, Policies: PoliciesOf(config),
	}
}

// PoliciesOf identifies the mutual TLS modes that Istio's policies request for the pod of a
// PodNATConfiguration. It is empty if they are not known.
func PoliciesOf(config *v1alpha1.PodNATConfiguration) string {
	if modes := config.Annotations[v1alpha1.AnnotationMutualTLS]; modes != "" {
		return shortHash(modes)
	}
	return ""
}

// Key returns the namespace and name of the PodNATConfiguration.
func (e AuditEntry) Key() types.NamespacedName {
	namespace, name, _ := strings.Cut(e.Config, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// AuditTarget is one pod to audit.
type AuditTarget struct {
	// Target is the target of the request that wrote the pod's rules.
	Target ruleio.Target
	// Entry identifies the PodNATConfiguration of the pod.
	Entry AuditEntry
	// Unread is set if the status does not contain the state of the proxy that runs, or
	// if this state differs from Istio's policies.
	Unread bool
}

// AuditLabels returns the labels that select the audit Jobs of a node and their
// pods.
func AuditLabels(node string) map[string]string {
	return map[string]string{v1alpha1.LabelAuditNode: shortHash(node)}
}

// AuditGroups divides the targets into the smallest number of Jobs. It preserves
// their order.
func AuditGroups(targets []AuditTarget) ([][]AuditTarget, error) {
	var groups [][]AuditTarget
	bytes := 0
	for _, t := range targets {
		size, err := encodedSize(t)
		if err != nil {
			return nil, err
		}
		last := len(groups) - 1
		if last < 0 || len(groups[last]) == MaxAuditTargets || bytes+size > maxAuditBytes {
			groups, bytes = append(groups, nil), 0
			last++
		}
		groups[last] = append(groups[last], t)
		bytes += size
	}
	return groups, nil
}

func encodedSize(t AuditTarget) (int, error) {
	b, err := json.Marshal(t)
	if err != nil {
		return 0, fmt.Errorf("encode audit target: %w", err)
	}
	return len(b), nil
}

// BuildAudit returns the Job that reads the rules of the targets on their node and
// does not write. The name of the Job contains the round and the number of the Job
// in the round, so that two managers cannot create the same Job twice.
func BuildAudit(cfg Config, node string, round int64, number int, targets []AuditTarget) (*batchv1.Job, error) {
	if node == "" || cfg.Image == "" || cfg.Namespace == "" {
		return nil, errors.New("build audit job: node, image and namespace are required")
	}
	req := ruleio.Request{Version: ruleio.RequestVersion}
	var entries []AuditEntry
	for _, t := range targets {
		t.Target.Operation, t.Target.Reset = ruleio.OperationVerify, false
		req.Targets = append(req.Targets, t.Target)
		entries = append(entries, t.Entry)
	}
	encoded, err := req.Encode()
	if err != nil {
		return nil, fmt.Errorf("build audit job: %w", err)
	}
	if _, err := ruleio.DecodeRequest(encoded); err != nil {
		return nil, fmt.Errorf("build audit job: %w", err)
	}
	encodedEntries, err := json.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("build audit job: %w", err)
	}
	labels := AuditLabels(node)
	labels[labelName], labels[v1alpha1.LabelManagedBy] = appName, v1alpha1.ManagedByValue
	annotations := map[string]string{v1alpha1.AnnotationAuditNode: node, v1alpha1.AnnotationAuditTargets: string(encodedEntries)}
	job := jobOf(cfg, auditName(node, round, number), node, labels, annotations, string(encoded))
	job.Spec.TTLSecondsAfterFinished = ptr.To[int32](auditResultTTL)
	return job, nil
}

// auditName returns a name that is short enough for the suffix of the Job's pod.
func auditName(node string, round int64, number int) string {
	prefix := strings.ReplaceAll(node[:min(len(node), auditNodeLength)], ".", "-")
	return fmt.Sprintf("audit-%s-%s-%x-%d", strings.TrimRight(prefix, "-"), shortHash(node), round, number)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:nameHashLength]
}

// AuditEntries returns the entries of an audit Job or its pod, nil for any other
// object.
func AuditEntries(o metav1.Object) []AuditEntry {
	var entries []AuditEntry
	if err := json.Unmarshal([]byte(o.GetAnnotations()[v1alpha1.AnnotationAuditTargets]), &entries); err != nil {
		return nil
	}
	return entries
}

// AuditResult is the result of an audit for one pod.
type AuditResult struct {
	// Entry identifies the PodNATConfiguration of the pod, and its status when the
	// audit Job was created.
	Entry AuditEntry
	// Target is the rule-writer's result.
	Target ruleio.TargetResult
	// FinishedAt is the time at which the rule-writer ended.
	FinishedAt metav1.Time
}

// Audit is the state of an audit Job.
type Audit struct {
	// Ended is set when the Job will not report more results.
	Ended bool
	// Results contains one entry per target. It is empty if the Job failed.
	Results []AuditResult
	// Message explains why an ended Job has no results.
	Message string
	// FinishedAt is the time at which the rule-writer ended, zero if unknown.
	FinishedAt metav1.Time
}

// ReadAudit returns the state of an audit Job, from the Job and its pods.
func ReadAudit(job *batchv1.Job, pods []corev1.Pod) Audit {
	own := newestFirst(job, pods)
	for i := range own {
		if t := terminated(&own[i]); t != nil && !disrupted(&own[i]) {
			return auditFrom(&own[i], t)
		}
	}
	out, ended := fromJob(job, own)
	return Audit{Ended: ended, Message: out.Message, FinishedAt: out.FinishedAt}
}

// AuditResults returns the results in the termination message of an audit pod, nil
// if it has none yet.
func AuditResults(pod *corev1.Pod) []AuditResult {
	t := terminated(pod)
	if t == nil {
		return nil
	}
	return auditFrom(pod, t).Results
}

// auditFrom evaluates the termination message of an audit pod. It accepts only a
// message that contains the digest of the pod's request and all its targets.
func auditFrom(pod *corev1.Pod, t *corev1.ContainerStateTerminated) Audit {
	out := Audit{Ended: true, FinishedAt: t.FinishedAt}
	entries := AuditEntries(pod)
	result, err := ruleio.DecodeResult([]byte(t.Message))
	switch {
	case err != nil:
		out.Message = withoutMessage(t).Message
	case result.RequestDigest != ruleio.DigestOf([]byte(pod.Annotations[v1alpha1.AnnotationRuleRequest])):
		out.Message = otherRequest
	case len(result.Targets) != len(entries):
		out.Message = cmp.Or(result.Message, "the rule-writer did not report a result for every target")
	default:
		for i, e := range entries {
			out.Results = append(out.Results, AuditResult{Entry: e, Target: result.Targets[i], FinishedAt: t.FinishedAt})
		}
	}
	return out
}
