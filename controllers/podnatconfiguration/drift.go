// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/rulejob"
)

// gatherOwner determines whether the MeshedVirtualMachine is paused, which suspends
// repairs, and whether it is being deleted and keeps its VirtualMachine.
func (r *Reconciler) gatherOwner(ctx context.Context, s *scope) error {
	owner := metav1.GetControllerOf(s.config)
	if owner == nil {
		return nil
	}
	var mvm v1alpha1.MeshedVirtualMachine
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: s.config.Namespace, Name: owner.Name}, &mvm)
	if client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("read MeshedVirtualMachine %s: %w", owner.Name, err)
	}
	if err == nil && mvm.UID == owner.UID {
		s.paused, s.releasing = mvm.PausedByUser(), mvm.ReleasesVirtualMachine()
	}
	return nil
}

// gatherAudits reads the results of audits of the pod. The audit controller creates
// the Jobs of audits, and deletes them when the status contains their results.
func (r *Reconciler) gatherAudits(ctx context.Context, s *scope) error {
	if s.pod == nil || s.pod.Spec.NodeName == "" || s.config.Status.Applied.RequestDigest == "" {
		return nil
	}
	var pods corev1.PodList
	of := cacheindex.Labels(rulejob.AuditLabels(s.pod.Spec.NodeName))
	// The pods contain the requests of all their targets. They are not changed, so they
	// are not copied.
	if err := r.Client.List(ctx, &pods, client.InNamespace(r.Jobs.Namespace), of, client.UnsafeDisableDeepCopy); err != nil {
		return fmt.Errorf("list audit pods: %w", err)
	}
	slices.SortStableFunc(pods.Items, func(a, b corev1.Pod) int { return a.CreationTimestamp.Compare(b.CreationTimestamp.Time) })
	for i := range pods.Items {
		results := rulejob.AuditResults(&pods.Items[i])
		for _, result := range results {
			if result.Entry.UID == s.config.UID {
				s.audits = append(s.audits, result)
			}
		}
	}
	return nil
}

// findDrift evaluates audits and events that concern verified rules. After the
// first finding, a repair is due until the Job of the repair has succeeded.
func (r *Reconciler) findDrift(s *scope) {
	st := &s.config.Status
	if s.request == nil || st.Applied.RequestDigest != s.digest {
		return
	}
	if st.Applied.Node == "" { // The status was written by a version that did not set this field.
		st.Applied.Node = s.pod.Spec.NodeName
	}
	for _, audit := range s.audits {
		result := drift.FromAudit(s.config.UID, st, audit)
		if result.Counters != nil {
			st.Counters = drift.Add(st.Counters, st.Applied.Counters, *result.Counters)
			st.Applied.Counters = *result.Counters
		}
		if result.Proxy != nil {
			st.Proxy = *result.Proxy
		}
		if result.Finding != nil {
			r.Limits().Note(st, *result.Finding, r.Now())
		}
	}
	if f := drift.FromEvents(st, s.pod, s.node); f != nil {
		r.Limits().Note(st, *f, r.Now())
	}
	s.repairBackoff = r.Limits().Hold(st, r.Now())
}

// describeTarget records the boot ID of the node and the sandbox time of the
// pod in the annotations of a Job. If either has changed when the Job runs, the
// next reconcile detects it.
func (s *scope) describeTarget(job *batchv1.Job) {
	// The Job and its pod template share the map.
	annotations := maps.Clone(job.Annotations)
	if s.node != nil && s.node.Status.NodeInfo.BootID != "" {
		annotations[v1alpha1.AnnotationBootID] = s.node.Status.NodeInfo.BootID
	}
	if at := launcherpod.SandboxReadySince(s.pod); at != nil {
		annotations[v1alpha1.AnnotationSandboxTime] = at.UTC().Format(time.RFC3339)
	}
	job.Annotations = annotations
}

// appliedRules returns the status of the rules that were just read back.
func (s *scope) appliedRules() v1alpha1.AppliedRules {
	out := v1alpha1.AppliedRules{
		RequestDigest:        s.digest,
		Digest:               s.proven.TableDigest,
		NetnsInode:           int64(s.proven.NetnsInode), //nolint:gosec // An inode number of nsfs is far below 2^63.
		Rules:                int32(s.proven.Rules),      //nolint:gosec // The rule-writer's result is at most 4 KiB long.
		DurationMicroseconds: max(s.proven.DurationMicroseconds, 1),
		Time:                 &s.jobResult.FinishedAt,
		Node:                 s.pod.Spec.NodeName,
		Repair:               s.config.Status.Repairs.Count,
	}
	if c := drift.Counters(s.proven.Counters); c != nil {
		out.Counters = *c
	}
	if s.provenJob != nil {
		out.BootID = s.provenJob.Annotations[v1alpha1.AnnotationBootID]
		if at, err := time.Parse(time.RFC3339, s.provenJob.Annotations[v1alpha1.AnnotationSandboxTime]); err == nil {
			out.SandboxTime = &metav1.Time{Time: at}
		}
	}
	return out
}
