// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/rulejob"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// tracedConnection is a connection of a client and where it must end. An empty ending is
// any but the guest.
type tracedConnection struct {
	name   string
	flow   v1alpha1.TracedFlow
	inside bool
	client []string
	ending string
	via    v1alpha1.PortVia
}

// traces creates ConnectionTraces, makes connections, reads where they ended, and deletes
// one of the objects while its trace runs.
func traces(t *suite.T) {
	ms := t.Machines("trace", suite.Machine{Name: "one"})
	ctx := t.Limit(4 * time.Minute)
	ip := ms.Pods["one"].Status.PodIP
	for _, c := range []tracedConnection{
		{"mutual-tls", v1alpha1.TracedFlow{Port: "lines"}, true, []string{"tcp", "one:9100", "hello"}, "Guest", v1alpha1.PortViaMesh},
		{"plaintext", v1alpha1.TracedFlow{Port: "http"}, false, []string{"get", "http://" + ip + ":8080/"}, "ProxyInbound", v1alpha1.PortViaMesh},
		{"closed", v1alpha1.TracedFlow{From: v1alpha1.TraceOriginOutside, DestinationPort: 9999}, false, []string{"get", "http://" + ip + ":9999/"}, "", ""},
	} {
		c.trace(ctx, t, ms)
	}
	deletedTrace(ctx, t, ms)
}

// trace runs a trace of the connection.
func (c tracedConnection) trace(ctx context.Context, t *suite.T, ms *suite.Machines) {
	t.Helper()
	begin := time.Now()
	createTrace(ctx, t, ms, c.name, v1alpha1.ConnectionTraceSpec{MeshedVirtualMachine: "one", Flow: c.flow, DurationSeconds: 60, TTLSecondsAfterFinished: 1})
	awaitTable(ctx, t, ms, true)
	started := time.Since(begin)
	client := ms.Clients.Outside
	if c.inside {
		client = ms.Clients.Inside
	}
	_, err := ms.From(ctx, client, c.client...)
	connected := time.Now()
	var final v1alpha1.ConnectionTrace
	t.Await(ctx, "the result of the trace "+c.name, func() bool {
		u := suite.Object("ConnectionTrace", ms.Key(c.name))
		return ms.Get(ctx, ms.Key(c.name), u) == nil && runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &final) == nil &&
			meta.IsStatusConditionTrue(final.Status.Conditions, string(v1alpha1.ConditionComplete))
	})
	st := final.Status
	t.Logf("%s: the trace started after %.1f s, its result of %d bytes followed %.1f s after the connection (client: %v): %s",
		c.name, started.Seconds(), len(st.Result), time.Since(connected).Seconds(), err, st.Verdict)
	if done := meta.FindStatusCondition(st.Conditions, string(v1alpha1.ConditionComplete)); done.Reason != string(v1alpha1.ReasonTraced) || len(st.Flows) == 0 {
		t.Errorf("%s: %s: %s", c.name, done.Reason, done.Message)
		return
	}
	f := st.Flows[0]
	if c.ending != "" && (f.Ending != c.ending || f.Via != c.via) || c.ending == "" && f.Ending == "Guest" {
		t.Errorf("%s: ended at %s via %s: %s", c.name, f.Ending, f.Via, f.Summary)
	}
	if !strings.Contains(st.Result, `"hops"`) {
		t.Errorf("%s: the result does not contain the rules: %s", c.name, st.Result)
	}
	t.Await(ctx, "the expired object to be deleted", func() bool {
		return apierrors.IsNotFound(ms.Get(ctx, ms.Key(c.name), suite.Object("ConnectionTrace", ms.Key(c.name))))
	})
}

func createTrace(ctx context.Context, t *suite.T, ms *suite.Machines, name string, spec v1alpha1.ConnectionTraceSpec) {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&v1alpha1.ConnectionTrace{Spec: spec})
	t.NoError(err)
	u := suite.Object("ConnectionTrace", ms.Key(name))
	u.Object["spec"] = content["spec"]
	t.NoError(ms.Create(ctx, u))
}

// deletedTrace deletes an object while its trace runs.
func deletedTrace(ctx context.Context, t *suite.T, ms *suite.Machines) {
	t.Helper()
	const name = "deleted"
	createTrace(ctx, t, ms, name, v1alpha1.ConnectionTraceSpec{MeshedVirtualMachine: "one", Flow: v1alpha1.TracedFlow{SourcePort: 1}, DurationSeconds: 300})
	awaitTable(ctx, t, ms, true)
	begin := time.Now()
	t.NoError(ms.Delete(ctx, suite.Object("ConnectionTrace", ms.Key(name))))
	awaitTable(ctx, t, ms, false)
	t.Await(ctx, "the Job of the trace to be deleted", func() bool {
		var jobs batchv1.JobList
		err := ms.List(ctx, &jobs, client.InNamespace(scenario.OperatorNamespace), client.MatchingLabels(rulejob.TraceLabels(ms.SampleNamespace())))
		return err == nil && len(jobs.Items) == 0
	})
	t.Logf("the Job and the table are deleted %.1f s after the object", time.Since(begin).Seconds())
}

// awaitTable waits until the table of a trace exists in the pod, or does not exist.
func awaitTable(ctx context.Context, t *suite.T, ms *suite.Machines, exists bool) {
	t.Helper()
	t.Await(ctx, fmt.Sprintf("the table of the trace: %v", exists), func() bool {
		tables, err := ms.PodNetnsExec(ctx, string(ms.Pods["one"].UID), "nft", "list", "tables")
		return err == nil && strings.Contains(tables, "inet meshvm_trace") == exists
	})
}
