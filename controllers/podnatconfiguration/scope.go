// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"context"
	"fmt"
	"slices"
	"sort"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/drift"
	"meshvm.io/meshvm/internal/hiddenpod"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
	"meshvm.io/meshvm/internal/startgate"
	"meshvm.io/meshvm/internal/validate"
)

// scope contains the input of one reconcile. gather fills the first part and
// buildRequest the second. The later steps and the status read only the scope.
type scope struct {
	// config is the object to be written. before is the object as it was read.
	config, before *v1alpha1.PodNATConfiguration
	// now is the time at which the reconcile began.
	now time.Time

	// pod is the virt-launcher pod with the UID of the spec, or nil if it does not
	// exist. hidden is set when it is not in the cache.
	pod    *corev1.Pod
	hidden bool
	// paused is set when the MeshedVirtualMachine of the configuration is paused.
	paused bool
	// releasing is set when the MeshedVirtualMachine is being deleted and its guest keeps
	// running.
	releasing bool
	// node is the pod's node, or nil if it does not exist or the pod is not
	// scheduled yet.
	node *corev1.Node
	// jobs are the rule-writer Jobs of this configuration, and writers their
	// pods by Job UID.
	jobs    []batchv1.Job
	writers map[types.UID][]corev1.Pod
	// audits are the results of audits of this pod, newest last.
	audits []rulejob.AuditResult

	// request is the request for the rule-writer, or nil if no request can be
	// built. digest identifies it.
	request *ruleio.Request
	digest  string
	// invalid is the reason why the spec is not accepted, or nil if it is
	// accepted.
	invalid *validate.Invalid
	// jobResult is the result of the Job for request, or nil if no Job exists.
	jobResult *rulejob.Result
	// proven is set if this reconcile read the result of request. provenJob is the
	// Job with the result.
	proven    *ruleio.TargetResult
	provenJob *batchv1.Job
	// enrollmentOverdue is set when istio-cni has not enrolled the pod in time.
	enrollmentOverdue bool
	// repairBackoff is the delay of a repair that is due.
	repairBackoff drift.Hold
}

// gather reads the pod, its node, and the Jobs with their pods.
func (r *Reconciler) gather(ctx context.Context, s *scope) error {
	var err error
	key := types.NamespacedName{Namespace: s.config.Namespace, Name: s.config.Spec.Pod.Name}
	if s.pod, s.hidden, err = hiddenpod.Find(ctx, r.Client, r.Reader, key, s.config.Spec.Pod.UID); err != nil {
		return err
	}
	if s.pod != nil && s.pod.Spec.NodeName != "" {
		var node corev1.Node
		switch err := r.Client.Get(ctx, types.NamespacedName{Name: s.pod.Spec.NodeName}, &node); {
		case err == nil:
			s.node = &node
		case !apierrors.IsNotFound(err):
			return fmt.Errorf("read node %s: %w", s.pod.Spec.NodeName, err)
		}
	}
	if err := r.gatherOwner(ctx, s); err != nil {
		return err
	}
	if err := r.gatherAudits(ctx, s); err != nil {
		return err
	}
	return r.gatherJobs(ctx, s)
}

func (r *Reconciler) gatherJobs(ctx context.Context, s *scope) error {
	own := cacheindex.Labels(map[string]string{v1alpha1.LabelPodNATConfiguration: string(s.config.UID)})
	var jobs batchv1.JobList
	if err := r.Client.List(ctx, &jobs, client.InNamespace(r.Jobs.Namespace), own); err != nil {
		return fmt.Errorf("list rule-writer jobs: %w", err)
	}
	s.jobs = jobs.Items
	sort.Slice(s.jobs, func(i, j int) bool { return s.jobs[i].Name < s.jobs[j].Name })
	var pods corev1.PodList
	if err := r.Client.List(ctx, &pods, client.InNamespace(r.Jobs.Namespace), own); err != nil {
		return fmt.Errorf("list rule-writer pods: %w", err)
	}
	s.writers = map[types.UID][]corev1.Pod{}
	for _, p := range pods.Items {
		for _, ref := range p.OwnerReferences {
			s.writers[ref.UID] = append(s.writers[ref.UID], p)
		}
	}
	return nil
}

// buildRequest computes the request for the rule-writer.
func (r *Reconciler) buildRequest(s *scope) error {
	var request ruleio.Request
	switch {
	case !s.alive() || !s.sandboxReady():
		return nil
	case !s.config.DeletionTimestamp.IsZero() && !s.opensGate():
		request = natplan.RemoveRequest(s.config, s.pod)
	case !launcherpod.IsLauncher(s.pod):
		s.invalid = &validate.Invalid{
			Reason: v1alpha1.ReasonNotALauncherPod, Field: "spec.pod.name",
			Message: "the pod is not a virt-launcher pod of KubeVirt: no VirtualMachineInstance controls it, or it uses the host's network",
		}
		return nil
	case !s.hasProxy():
		return nil
	default:
		var err error
		request, err = natplan.ApplyRequest(s.config, s.pod)
		if invalid, ok := validate.FirstInvalid(err); ok {
			s.invalid = invalid
			return nil
		}
		if err != nil {
			return fmt.Errorf("plan: %w", err)
		}
	}
	digest, err := request.Digest()
	if err != nil {
		return err
	}
	s.request, s.digest = &request, digest
	return nil
}

// opensGate reports whether the rules of an object that is being deleted must first be
// verified, because only this opens the start gate of a guest that remains.
func (s *scope) opensGate() bool { return s.releasing && startgate.Blocks(s.pod) }

// alive reports whether the pod exists and can still carry traffic.
func (s *scope) alive() bool {
	return s.pod != nil && !launcherpod.Ended(s.pod)
}

// sandboxReady reports whether the pod has a network namespace with an address.
func (s *scope) sandboxReady() bool { return s.pod != nil && launcherpod.SandboxReady(s.pod) }

// nodeUp reports whether the pod's node can run a Job.
func (s *scope) nodeUp() bool { return s.node != nil && rulejob.NodeReady(s.node) }

// rulesVerified reports whether this reconcile or an earlier one verified the
// rules of this request, and since then no other request was executed and no
// drift was found.
func (s *scope) rulesVerified() bool {
	return s.request != nil && (s.proven != nil || drift.Proven(&s.config.Status, s.digest) && !s.proofMayBeStale())
}

// proofMayBeStale reports whether a request other than the verified one may
// have been executed: its Job exists, or was the last Job created.
func (s *scope) proofMayBeStale() bool {
	name := rulejob.JobName(s.config, s.config.Status.Applied.RequestDigest)
	if j := s.config.Status.Job; j != "" && j != name {
		return true
	}
	return slices.ContainsFunc(s.jobs, func(j batchv1.Job) bool { return j.Name != name })
}

// writerRunning reports whether a rule-writer pod may still change the rules.
func (s *scope) writerRunning() bool {
	for _, pods := range s.writers {
		for i := range pods {
			if !launcherpod.Ended(&pods[i]) {
				return true
			}
		}
	}
	return false
}
