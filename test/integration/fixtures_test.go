// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
)

// web returns a guest with a port of each kind.
func (s *suite) web() *v1alpha1.MeshedVirtualMachine {
	o := builders.MVM("web").Namespace(s.namespace).
		Ports(builders.HTTP("http", 80, 8080), builders.Direct("ssh", 22), builders.UDP("echo", 9000)).
		Obj()
	o.UID, o.Generation = "", 0 // The API server sets these.
	return o
}

// edit changes the spec of a MeshedVirtualMachine.
func (s *suite) edit(name string, change func(*v1alpha1.MeshedVirtualMachineSpec)) {
	s.Helper()
	before := s.mvm(name)
	after := before.DeepCopy()
	change(&after.Spec)
	if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
}

// onlyNAT returns the only PodNATConfiguration of the namespace.
func (s *suite) onlyNAT() *v1alpha1.PodNATConfiguration {
	s.Helper()
	var list v1alpha1.PodNATConfigurationList
	if err := s.List(s.Context(), &list, client.InNamespace(s.namespace)); err != nil {
		s.Fatal(err)
	}
	if len(list.Items) != 1 {
		s.Fatalf("found %d PodNATConfigurations, want one", len(list.Items))
	}
	return &list.Items[0]
}

// quiet waits until the operator has not sent a request for half a second, so
// that all pending events have been handled.
func (s *suite) quiet() {
	s.Helper()
	last, since := "", time.Now()
	s.eventually("the operator is idle", func() error {
		if now := s.calls.table(); now != last {
			last, since = now, time.Now()
		}
		if d := time.Since(since); d < 500*time.Millisecond {
			return fmt.Errorf("idle for only %s", d)
		}
		return nil
	})
}

// atRest checks that the operator stops writing. A last write can follow a pause, for
// example after the garbage collector has deleted a pod.
func (s *suite) atRest() {
	s.Helper()
	s.quiet()
	for range 5 {
		s.calls.reset(nil)
		s.quiet()
		if s.calls.writeCount() == 0 {
			return
		}
	}
	s.Errorf("%d writes at rest:\n%s", s.calls.writeCount(), s.calls.table())
}

// reconciles returns the number of reconciles of the controllers with this name
// in this process, from the metrics of controller-runtime.
func (s *suite) reconciles(controller string) float64 {
	s.Helper()
	return countReconciles(s, func(name string) bool { return name == controller })
}

// reconcileCount returns the number of reconciles of all controllers.
func reconcileCount(t testing.TB) float64 {
	t.Helper()
	return countReconciles(t, func(string) bool { return true })
}

func countReconciles(t testing.TB, selected func(controller string) bool) (n float64) {
	t.Helper()
	families, err := metrics.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != "controller_runtime_reconcile_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "controller" && selected(l.GetValue()) {
					n += m.GetCounter().GetValue()
				}
			}
		}
	}
	return n
}

func replaceAll(text, namespace string) string {
	return strings.ReplaceAll(text, namespace, "NAMESPACE")
}

// nestedList is a list of objects in an object.
func nestedList(o map[string]any, path ...string) ([]map[string]any, error) {
	raw, _, err := unstructured.NestedSlice(o, path...)
	out := make([]map[string]any, 0, len(raw))
	for _, e := range raw {
		m, _ := e.(map[string]any)
		out = append(out, m)
	}
	return out, err
}
