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
	// MaxAuditTargets is how many targets an audit's Job has at most, so that
	// their results fit in a termination message even when all of them drifted.
	MaxAuditTargets = 16
	// maxAuditBytes bounds what the targets take of a pod's annotations, which
	// may hold 256 KiB in all.
	maxAuditBytes = 160 << 10
	// auditTTLSeconds is a safety net as ttlSeconds is; a result that is lost
	// is found again by the next audit.
	auditTTLSeconds = 600
	auditNameNode   = 24
)

// AuditEntry ties a target of an audit to what the status of its
// PodNATConfiguration reported when the audit was asked for. A result about an
// older state is no news.
type AuditEntry struct {
	// Config is NAMESPACE/NAME of the PodNATConfiguration.
	Config string `json:"config"`
	// UID is its UID.
	UID types.UID `json:"uid"`
	// RequestDigest is its status.applied.requestDigest.
	RequestDigest string `json:"requestDigest"`
	// Repair is its status.applied.repair.
	Repair int32 `json:"repair,omitempty"`
	// Counters are its status.applied.counters: what the audit counts is to be
	// added to that and to nothing else, so that nothing is added twice.
	Counters v1alpha1.TrafficCounters `json:"counters,omitzero"`
}

// EntryOf is the entry for a PodNATConfiguration as its status is now.
func EntryOf(config *v1alpha1.PodNATConfiguration) AuditEntry {
	a := config.Status.Applied
	return AuditEntry{
		Config: config.Namespace + "/" + config.Name, UID: config.UID,
		RequestDigest: a.RequestDigest, Repair: a.Repair, Counters: a.Counters,
	}
}

// Key is the namespace and name of the PodNATConfiguration.
func (e AuditEntry) Key() types.NamespacedName {
	namespace, name, _ := strings.Cut(e.Config, "/")
	return types.NamespacedName{Namespace: namespace, Name: name}
}

// AuditTarget is one pod to look at.
type AuditTarget struct {
	// Target is that of the request that was carried out in the pod.
	Target ruleio.Target
	// Entry reports whose pod it is.
	Entry AuditEntry
}

// AuditLabels select the Jobs and pods of a node's audits.
func AuditLabels(node string) map[string]string {
	return map[string]string{v1alpha1.LabelAuditNode: shortHash(node)}
}

// AuditGroups divides the targets into as few Jobs as can carry them, in their
// order.
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

// BuildAudit makes the Job that reads the rules of the targets back on their
// node and writes nothing. The round and the number of the Job within it name
// it, so that two managers cannot make the same one twice.
func BuildAudit(cfg Config, node string, round int64, number int, targets []AuditTarget) (*batchv1.Job, error) {
	if node == "" || cfg.Image == "" || cfg.Namespace == "" {
		return nil, errors.New("build audit job: no node named, or no image or namespace configured")
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
	about, err := json.Marshal(entries)
	if err != nil {
		return nil, fmt.Errorf("build audit job: %w", err)
	}
	labels := AuditLabels(node)
	labels[labelName], labels[v1alpha1.LabelManagedBy] = appName, v1alpha1.ManagedByValue
	annotations := map[string]string{v1alpha1.AnnotationAuditNode: node, v1alpha1.AnnotationAuditTargets: string(about)}
	job := jobOf(cfg, auditName(node, round, number), node, labels, annotations, string(encoded))
	job.Spec.TTLSecondsAfterFinished = ptr.To[int32](auditTTLSeconds)
	return job, nil
}

// auditName leaves room for the suffix of the Job's pod.
func auditName(node string, round int64, number int) string {
	prefix := strings.ReplaceAll(node[:min(len(node), auditNameNode)], ".", "-")
	return fmt.Sprintf("audit-%s-%s-%x-%d", strings.TrimRight(prefix, "-"), shortHash(node), round, number)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])[:nameHashLength]
}

// AuditEntries are the entries of an audit's Job or pod; none for any other.
func AuditEntries(o metav1.Object) []AuditEntry {
	var entries []AuditEntry
	if err := json.Unmarshal([]byte(o.GetAnnotations()[v1alpha1.AnnotationAuditTargets]), &entries); err != nil {
		return nil
	}
	return entries
}

// AuditResult is what an audit saw in one pod.
type AuditResult struct {
	// Entry reports whose pod it is, and in which state.
	Entry AuditEntry
	// Target is what was seen.
	Target ruleio.TargetResult
}

// Audit is how an audit's Job stands.
type Audit struct {
	// Ended reports that nothing more is to be expected of it.
	Ended bool
	// Results has an entry for each target, none when the Job failed.
	Results []AuditResult
	// Message explains why there are no results although it ended.
	Message string
	// FinishedAt is when the rule-writer ended, zero if unknown.
	FinishedAt metav1.Time
}

// ReadAudit describes how an audit's Job stands, from the Job and its pods.
func ReadAudit(job *batchv1.Job, pods []corev1.Pod) Audit {
	own := newestFirst(job, pods)
	for i := range own {
		if t := terminated(&own[i]); t != nil && !disrupted(&own[i]) {
			return auditOf(&own[i], t)
		}
	}
	out, ended := fromJob(job, own)
	return Audit{Ended: ended, Message: out.Message, FinishedAt: out.FinishedAt}
}

// AuditOf reads the results out of an audit's pod; ok is false as long as it
// has none.
func AuditOf(pod *corev1.Pod) (results []AuditResult, ok bool) {
	t := terminated(pod)
	if t == nil {
		return nil, false
	}
	a := auditOf(pod, t)
	return a.Results, len(a.Results) > 0
}

// auditOf takes nothing for an answer that does not answer this very request.
func auditOf(pod *corev1.Pod, t *corev1.ContainerStateTerminated) Audit {
	out := Audit{Ended: true, FinishedAt: t.FinishedAt}
	entries := AuditEntries(pod)
	result, err := ruleio.DecodeResult([]byte(t.Message))
	switch {
	case err != nil:
		out.Message = withoutResult(t).Message
	case result.RequestDigest != ruleio.DigestOf([]byte(pod.Annotations[v1alpha1.AnnotationRuleRequest])):
		out.Message = "the rule-writer answered another request than the one it was given"
	case len(result.Targets) != len(entries):
		out.Message = cmp.Or(result.Message, "the rule-writer did not report every target")
	default:
		for i, e := range entries {
			out.Results = append(out.Results, AuditResult{Entry: e, Target: result.Targets[i]})
		}
	}
	return out
}
