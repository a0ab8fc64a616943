// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/flowio"
	"meshvm.io/meshvm/internal/rulejob"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// createTrace creates a ConnectionTrace of the guest web.
func (s *suite) createTrace(c client.Client, name string, change func(*v1alpha1.ConnectionTraceSpec)) *v1alpha1.ConnectionTrace {
	s.Helper()
	t := &v1alpha1.ConnectionTrace{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		Spec:       v1alpha1.ConnectionTraceSpec{MeshedVirtualMachine: "web", Flow: v1alpha1.TracedFlow{Port: "http"}},
	}
	change(&t.Spec)
	if err := c.Create(s.Context(), t); err != nil {
		s.Fatal(err)
	}
	return t
}

func asIs(*v1alpha1.ConnectionTraceSpec) {}

// awaitTrace waits until a ConnectionTrace has the conditions.
func (s *suite) awaitTrace(name string, wants ...want) *v1alpha1.ConnectionTrace {
	s.Helper()
	o := &v1alpha1.ConnectionTrace{}
	s.eventually("ConnectionTrace "+name+" has the conditions", func() error {
		if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, o); err != nil {
			return err
		}
		var errs []error
		for _, w := range wants {
			errs = append(errs, w.check(o.Status.Conditions, o.Generation))
		}
		return errors.Join(errs...)
	})
	return o
}

func complete(reason v1alpha1.ConditionReason) want {
	return want{v1alpha1.ConditionComplete, yes, reason}
}

var (
	tracing = want{v1alpha1.ConditionComplete, no, v1alpha1.ReasonTracing}
	waiting = want{v1alpha1.ConditionComplete, no, v1alpha1.ReasonTraceWaiting}
)

// tracer waits for the pod of the Job of a ConnectionTrace.
func (s *suite) tracer(uid types.UID) *corev1.Pod {
	s.Helper()
	var found *corev1.Pod
	s.eventually("the pod of the trace exists", func() error {
		var pods corev1.PodList
		if err := s.List(s.Context(), &pods, client.InNamespace(operatorNamespace), client.MatchingLabels(rulejob.TraceLabels(s.namespace))); err != nil {
			return err
		}
		for i := range pods.Items {
			if p := &pods.Items[i]; p.Annotations[v1alpha1.AnnotationTraceUID] == string(uid) && p.DeletionTimestamp.IsZero() {
				found = p
				return nil
			}
		}
		return errors.New("not found")
	})
	return found
}

// endTracer simulates a kubelet whose tracer ended with a termination message.
func (s *suite) endTracer(uid types.UID, message string) {
	s.Helper()
	s.podIs(s.tracer(uid), func(st *corev1.PodStatus) {
		st.Phase = corev1.PodSucceeded
		st.ContainerStatuses = []corev1.ContainerStatus{{
			Name: rulejob.TracerContainerName,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				Message: message, FinishedAt: metav1.Now(), StartedAt: metav1.Now(),
			}},
		}}
	})
}

// stopTracer simulates a kubelet that stops the pod of a deleted Job.
func (s *suite) stopTracer(pod *corev1.Pod) {
	s.Helper()
	s.eventually("the Job of the trace is deleted", func() error {
		var job batchv1.Job
		err := s.Get(s.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: pod.Labels[batchv1.JobNameLabel]}, &job)
		if apierrors.IsNotFound(err) || err == nil && !metav1.IsControlledBy(pod, &job) {
			return nil
		}
		return fmt.Errorf("it exists: %w", err)
	})
	if err := s.Delete(s.Context(), pod, client.GracePeriodSeconds(0)); client.IgnoreNotFound(err) != nil {
		s.Fatal(err)
	}
}

// awaitNoTraceJobs waits until the namespace has no Job of a trace.
func (s *suite) awaitNoTraceJobs() {
	s.Helper()
	s.eventually("the Jobs of the traces are deleted", func() error {
		if n := len(s.traceJobs()); n > 0 {
			return fmt.Errorf("%d left", n)
		}
		return nil
	})
}

func (s *suite) traceJobs() []batchv1.Job {
	s.Helper()
	var jobs batchv1.JobList
	if err := s.List(s.Context(), &jobs, client.InNamespace(operatorNamespace), client.MatchingLabels(rulejob.TraceLabels(s.namespace))); err != nil {
		s.Fatal(err)
	}
	return jobs.Items
}

// traceResult returns a compressed result of the tracer with one connection.
func traceResult(t *testing.T, pod types.UID, outcome string, change func(map[string]any)) string {
	t.Helper()
	flow := map[string]any{
		"from": "outside", "summary": "Reached the guest.", "ending": "Guest", "answer": "Answered", "viaProxy": true,
		"legs": []any{map[string]any{"protocol": "tcp", "source": "10.0.0.1:40000", "destination": "10.244.0.7:8080", "hops": []any{map[string]any{"writer": "meshvm"}}}},
	}
	result := map[string]any{"version": flowio.ResultVersion, "podUID": string(pod), "outcome": outcome, "message": "", "flows": []any{flow}}
	if outcome != "Traced" {
		result["flows"], result["message"] = nil, "stand-in: "+outcome
	}
	change(result)
	b, err := json.Marshal(result)
	if err != nil {
		t.Fatal(err)
	}
	if b, err = flowio.Pack(b); err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func asItIs(map[string]any) {}
