// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/flowio"
	"meshvm.io/meshvm/internal/rulejob"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestConnectionTrace traces a connection and deletes the object when it has expired.
func TestConnectionTrace(t *testing.T) {
	s := start(t)
	pod := s.converge(s.web())
	o := s.createTrace(s, "first", func(spec *v1alpha1.ConnectionTraceSpec) { spec.DurationSeconds, spec.MaxFlows = 300, 2 })
	s.awaitTrace("first", want{v1alpha1.ConditionAccepted, yes, v1alpha1.ReasonAccepted}, tracing)
	tracer := s.tracer(o.UID)
	request, err := flowio.DecodeRequest([]byte(tracer.Annotations[v1alpha1.AnnotationRuleRequest]))
	if err != nil {
		t.Fatal(err)
	}
	if request.PodUID != string(pod.UID) || request.Flow.DestinationPort != 8080 || request.Flow.Protocol != flowio.ProtocolTCP ||
		request.Flow.From != flowio.FromOutside || request.MaxFlows != 2 || request.DurationMilliseconds != 300_000 || len(request.PodIPs) != 1 {
		t.Errorf("request %+v", request)
	}
	if tracer.Spec.NodeName != pod.Spec.NodeName || *tracer.Spec.AutomountServiceAccountToken {
		t.Errorf("the tracer runs on %s, with a token: %v", tracer.Spec.NodeName, *tracer.Spec.AutomountServiceAccountToken)
	}

	second := s.createTrace(s, "second", asIs)
	s.awaitTrace("second", want{v1alpha1.ConditionAccepted, yes, v1alpha1.ReasonAccepted}, waiting)

	s.endTracer(o.UID, traceResult(t, pod.UID, "Traced", func(map[string]any) {}))
	got := s.awaitTrace("first", complete(v1alpha1.ReasonTraced))
	wantFlow := v1alpha1.FlowVerdict{
		From: v1alpha1.TraceOriginOutside, Protocol: "tcp", Source: "10.0.0.1:40000", Destination: "10.244.0.7:8080",
		Ending: "Guest", Answer: "Answered", Via: v1alpha1.PortViaMesh, Summary: "Reached the guest.",
	}
	if st := got.Status; len(st.Flows) != 1 || st.Flows[0] != wantFlow || st.Verdict != wantFlow.Summary || st.Pod.UID != pod.UID || st.Node != "node-a" || !strings.Contains(st.Result, `"writer":"meshvm"`) {
		t.Errorf("status %+v", st)
	}

	s.endTracer(second.UID, traceResult(t, pod.UID, "NothingSeen", func(map[string]any) {}))
	s.awaitTrace("second", complete(v1alpha1.ReasonNothingSeen))
	s.awaitNoTraceJobs()
	s.atRest()

	s.restart(func(o *controllers.Options) { o.Now = func() time.Time { return time.Now().Add(time.Hour) } })
	s.eventually("the expired objects are deleted", func() error {
		var list v1alpha1.ConnectionTraceList
		if err := s.List(s.Context(), &list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		if len(list.Items) > 0 {
			return fmt.Errorf("%d left", len(list.Items))
		}
		return nil
	})
}

// TestConnectionTraceDeleted deletes objects while their traces run, once while no
// operator runs.
func TestConnectionTraceDeleted(t *testing.T) {
	s := start(t)
	s.converge(s.web())
	o := s.createTrace(s, "web", asIs)
	s.awaitTrace("web", tracing)
	first := s.tracer(o.UID)
	if err := s.Delete(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.stopTracer(first)
	s.awaitNoTraceJobs()

	// The name is the same, and the trace another one.
	again := s.createTrace(s, "web", asIs)
	s.awaitTrace("web", tracing)
	second := s.tracer(again.UID)
	s.stop()
	if err := s.Delete(s.Context(), again); err != nil {
		t.Fatal(err)
	}
	third := s.createTrace(s, "web", asIs)
	s.run(nil)
	s.stopTracer(second)
	s.awaitTrace("web", tracing)
	s.tracer(third.UID)
	if jobs := s.traceJobs(); len(jobs) != 1 || jobs[0].Annotations[v1alpha1.AnnotationTraceUID] != string(third.UID) {
		t.Errorf("%d Jobs, the first of %s", len(jobs), jobs[0].Annotations[v1alpha1.AnnotationTraceUID])
	}
	// A manager that restarts continues.
	s.restart()
	s.endTracer(third.UID, "panic: out of memory")
	s.awaitTrace("web", complete(v1alpha1.ReasonTraceFailed))
	s.awaitNoTraceJobs()
}

// TestConnectionTraceOutcomes reads results of a tracer, some of them hostile.
func TestConnectionTraceOutcomes(t *testing.T) {
	s := start(t)
	pod := s.converge(s.web())
	flows := func(n int) func(map[string]any) {
		return func(r map[string]any) {
			first, ok := r["flows"].([]any)
			if !ok {
				return
			}
			for len(first) < n {
				first = append(first, first[0])
			}
			r["flows"] = first
		}
	}
	for name, tc := range map[string]struct {
		message string
		want    v1alpha1.ConditionReason
		flows   int
	}{
		"busy":             {traceResult(t, pod.UID, "Busy", asItIs), v1alpha1.ReasonTraceBusy, 0},
		"gone":             {traceResult(t, pod.UID, "TargetGone", asItIs), v1alpha1.ReasonTargetGone, 0},
		"unknown-outcome":  {traceResult(t, pod.UID, "Odd", asItIs), v1alpha1.ReasonTraceFailed, 0},
		"another-pod":      {traceResult(t, "0d9c4b1e-1111", "Traced", asItIs), v1alpha1.ReasonTraceFailed, 0},
		"many-connections": {traceResult(t, pod.UID, "Traced", flows(64)), v1alpha1.ReasonTraced, 8},
		"huge":             {traceResult(t, pod.UID, "Traced", func(r map[string]any) { r["notes"] = strings.Repeat("a", 64<<20) }), v1alpha1.ReasonTraceFailed, 0},
		"long-texts": {traceResult(t, pod.UID, "Traced", func(r map[string]any) {
			flow := map[string]any{}
			for _, key := range []string{"from", "summary", "ending", "answer"} {
				flow[key] = strings.Repeat("\x1b[31mé\n", 400)
			}
			r["flows"] = []any{flow}
		}), v1alpha1.ReasonTraced, 1},
	} {
		o := s.createTrace(s, name, asIs)
		s.endTracer(o.UID, tc.message)
		got := s.awaitTrace(name, complete(tc.want))
		if len(got.Status.Flows) != tc.flows {
			t.Errorf("%s: %d flows", name, len(got.Status.Flows))
		}
		if strings.ContainsAny(got.Status.Verdict, "\x1b\n") || len([]rune(got.Status.Verdict)) > 1024 {
			t.Errorf("%s: verdict %q", name, got.Status.Verdict)
		}
		s.awaitNoTraceJobs()
	}
}

// TestConnectionTraceTenancy makes attempts with the permissions of the role "edit".
func TestConnectionTraceTenancy(t *testing.T) {
	s := start(t)
	s.installRBAC("aggregate_edit.yaml", "aggregate_view.yaml")
	pod := s.converge(s.web())
	tenant := s.tenant("tracer-"+s.namespace, aggregated["edit"]...)
	s.eventually("the tenant may create a ConnectionTrace", func() error {
		return tenant.Create(s.Context(), &v1alpha1.ConnectionTrace{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "dry"}, Spec: v1alpha1.ConnectionTraceSpec{MeshedVirtualMachine: "web"},
		}, client.DryRunAll)
	})
	running := s.createTrace(tenant, "running", asIs)
	s.awaitTrace("running", tracing)
	job := s.traceJobs()[0]
	raw := func(patch string) client.Patch { return client.RawPatch("application/merge-patch+json", []byte(patch)) }
	for name, attempt := range map[string]func() error{
		"a trace in another namespace": func() error {
			return tenant.Create(s.Context(), &v1alpha1.ConnectionTrace{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x"}, Spec: running.Spec})
		},
		"a trace in the operator's namespace": func() error {
			return tenant.Create(s.Context(), &v1alpha1.ConnectionTrace{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "x"}, Spec: running.Spec})
		},
		"read traces of another namespace": func() error {
			return tenant.List(s.Context(), &v1alpha1.ConnectionTraceList{}, client.InNamespace("default"))
		},
		"change a trace": func() error {
			return tenant.Patch(s.Context(), running.DeepCopy(), raw(`{"spec":{"meshedVirtualMachine":"db"}}`))
		},
		"forge a result": func() error {
			return tenant.Status().Patch(s.Context(), running.DeepCopy(), raw(`{"status":{"verdict":"x","pod":{"name":"x","uid":"y"}}}`))
		},
		"change the Job of a trace": func() error {
			return tenant.Patch(s.Context(), job.DeepCopy(), raw(`{"metadata":{"labels":{"x":"y"}}}`))
		},
		"read the log of the tracer": func() error {
			return tenant.Get(s.Context(), client.ObjectKey{Namespace: operatorNamespace, Name: s.tracer(running.UID).Name}, &corev1.Pod{})
		},
		"create the Job of a trace":       func() error { j := job.DeepCopy(); j.ResourceVersion = ""; return tenant.Create(s.Context(), j) },
		"delete the Job of another trace": func() error { return tenant.Delete(s.Context(), job.DeepCopy()) },
	} {
		if err := attempt(); !apierrors.IsForbidden(err) {
			t.Errorf("%s: %v, want Forbidden", name, err)
		}
	}

	t.Log("an imitation of a Job in the namespace of the tenant")
	forged := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "trace-x", Labels: job.Labels, Annotations: job.Annotations}, Spec: *job.Spec.DeepCopy()}
	forged.Spec.Selector, forged.Spec.Template.Labels = nil, nil
	if err := tenant.Create(s.Context(), forged); err != nil {
		t.Fatal(err)
	}
	t.Log("an imitation of the tracer's pod with a result")
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(running), running); err != nil {
		t.Fatal(err)
	}
	before := s.tracer(running.UID)
	imitation := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "imitation", Labels: before.Labels, Annotations: before.Annotations},
		Spec:       corev1.PodSpec{NodeName: "node-a", Containers: []corev1.Container{{Name: rulejob.TracerContainerName, Image: "x"}}},
	}
	if err := tenant.Create(s.Context(), imitation); err != nil {
		t.Fatal(err)
	}
	s.podIs(imitation, func(st *corev1.PodStatus) {
		st.Phase = corev1.PodSucceeded
		st.ContainerStatuses = []corev1.ContainerStatus{{
			Name:  rulejob.TracerContainerName,
			State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Message: traceResult(t, pod.UID, "Traced", asItIs), FinishedAt: metav1.Now()}},
		}}
	})
	s.awaitTrace("running", tracing)

	s.refusedTraces(tenant)
	s.endTracer(running.UID, traceResult(t, pod.UID, "NothingSeen", asItIs))
	s.awaitTrace("running", complete(v1alpha1.ReasonNothingSeen))
}

// refusedTraces creates traces that end without a Job.
func (s *suite) refusedTraces(tenant client.Client) {
	s.Helper()
	for name, tc := range map[string]struct {
		change func(*v1alpha1.ConnectionTraceSpec)
		want   v1alpha1.ConditionReason
	}{
		"path": {func(spec *v1alpha1.ConnectionTraceSpec) {
			spec.MeshedVirtualMachine = "../" + operatorNamespace + "/web"
		}, v1alpha1.ReasonMachineNotFound},
		"other-namespace": {func(spec *v1alpha1.ConnectionTraceSpec) { spec.MeshedVirtualMachine = "default/web" }, v1alpha1.ReasonMachineNotFound},
		"pod-name":        {func(spec *v1alpha1.ConnectionTraceSpec) { spec.MeshedVirtualMachine = "imitation" }, v1alpha1.ReasonMachineNotFound},
		"no-target":       {func(spec *v1alpha1.ConnectionTraceSpec) { spec.Role = v1alpha1.PodRoleMigrationTarget }, v1alpha1.ReasonPodNotFound},
		"no-port":         {func(spec *v1alpha1.ConnectionTraceSpec) { spec.Flow.Port = "metrics" }, v1alpha1.ReasonPortNotFound},
	} {
		s.createTrace(tenant, name, tc.change)
		defer func() {
			got := s.awaitTrace(name, want{v1alpha1.ConditionAccepted, no, tc.want}, complete(tc.want))
			if got.Status.Pod.UID != "" && tc.want != v1alpha1.ReasonPortNotFound {
				s.Errorf("%s: pod %s", name, got.Status.Pod.Name)
			}
		}()
	}
	if n := len(s.traceJobs()); n != 1 {
		s.Errorf("%d Jobs, want the one of the running trace", n)
	}
}

// TestConnectionTraceForgedTarget traces a machine whose pod has no owner reference of
// KubeVirt.
func TestConnectionTraceForgedTarget(t *testing.T) {
	s := start(t)
	pod := s.converge(s.web())
	before := &corev1.Pod{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(pod), before); err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	after.OwnerReferences = nil
	if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	s.awaitNAT(pod, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonNotALauncherPod})
	s.createTrace(s, "forged", asIs)
	got := s.awaitTrace("forged", want{v1alpha1.ConditionAccepted, no, ""}, want{v1alpha1.ConditionComplete, yes, ""})
	if reason := v1alpha1.ConditionReason(got.Status.Conditions[0].Reason); reason != v1alpha1.ReasonNotALauncherPod && reason != v1alpha1.ReasonPodNotFound {
		t.Errorf("reason %s", reason)
	}
	if n := len(s.traceJobs()); n != 0 {
		t.Errorf("%d Jobs", n)
	}
}

// TestConnectionTraceLimits creates more traces than may run.
func TestConnectionTraceLimits(t *testing.T) {
	s := start(t)
	pod := s.converge(s.web())
	// With a slow clock, all starts are within the window of the limit on any machine.
	begin := time.Now()
	s.restart(func(o *controllers.Options) { o.Now = func() time.Time { return begin.Add(time.Since(begin) / 20) } })
	names := make([]string, 12)
	for i := range names {
		names[i] = fmt.Sprintf("many-%d", i)
		s.createTrace(s, names[i], asIs)
	}
	ended := 0
	for ended < 10 {
		jobs := s.traceJobs()
		if len(jobs) > 1 {
			t.Fatalf("%d Jobs trace one pod", len(jobs))
		}
		if len(jobs) == 0 || !jobs[0].DeletionTimestamp.IsZero() {
			time.Sleep(20 * time.Millisecond) // The API server is another process.
			continue
		}
		uid := types.UID(jobs[0].Annotations[v1alpha1.AnnotationTraceUID])
		s.endTracer(uid, traceResult(t, pod.UID, "NothingSeen", asItIs))
		s.eventually("the Job is deleted", func() error {
			for _, j := range s.traceJobs() {
				if j.UID == jobs[0].UID {
					return errors.New("it exists")
				}
			}
			return nil
		})
		ended++
	}
	s.eventually("the others wait for the limit", func() error {
		n := 0
		for _, name := range names {
			o := s.awaitTrace(name)
			for _, c := range o.Status.Conditions {
				if c.Type == string(v1alpha1.ConditionComplete) && strings.Contains(c.Message, "10 traces of this namespace started") {
					n++
				}
			}
		}
		if n != 2 {
			return fmt.Errorf("%d wait", n)
		}
		return nil
	})
}
