// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
)

// TestConvergenceWithFailedWrites breaks each of the operator's writes in turn, before it
// reaches the API server and after it was committed. The end state must be the
// same each time.
func TestConvergenceWithFailedWrites(t *testing.T) {
	fresh := func(t *testing.T, f *fault) (*suite, *v1alpha1.MeshedVirtualMachine) {
		t.Helper()
		s := start(t)
		s.calls.reset(f)
		o := s.web()
		s.converge(o)
		s.quiet()
		if f != nil && !f.done {
			// The number of status patches differs between runs.
			t.Skipf("fewer than %d writes: none failed", f.at) //nolint:forbidigo // A property of the run.
		}
		return s, o
	}
	var reference map[string]any
	writes := 0
	t.Run("no write fails", func(t *testing.T) {
		s, o := fresh(t, nil)
		reference, writes = s.endState(o), s.calls.writeCount()
	})
	for at := 1; at <= writes; at++ {
		for _, committed := range []bool{false, true} {
			t.Run(fmt.Sprintf("write %d of %d, committed %v", at, writes, committed), func(t *testing.T) {
				s, o := fresh(t, &fault{at: at, committed: committed})
				s.eventually("the end state is the same", func() error { // The failed write is repeated after a delay.
					if diff := cmp.Diff(reference, s.endState(o)); diff != "" {
						return errors.New(diff)
					}
					return nil
				})
			})
		}
	}
}

// endState returns the state of a guest without values that differ between
// runs.
func (s *suite) endState(o *v1alpha1.MeshedVirtualMachine) map[string]any {
	s.Helper()
	out := map[string]any{}
	for _, kind := range singletons {
		u, err := s.read(kind, o.Name)
		if err != nil {
			s.Fatal(err)
		}
		out[kind.Kind] = map[string]any{"labels": u.GetLabels(), "spec": stable(u, s.namespace)}
	}
	nat := s.onlyNAT()
	conditions := map[string]string{}
	for _, c := range nat.Status.Conditions {
		conditions["nat "+c.Type] = string(c.Status) + "/" + c.Reason
	}
	for _, c := range s.mvm(o.Name).Status.Conditions {
		conditions[c.Type] = string(c.Status) + "/" + c.Reason
	}
	out["conditions"] = conditions
	out["finalizers"] = nat.Finalizers
	out["inbound"] = nat.Spec.Inbound
	out["attempts"] = nat.Status.Attempts
	return out
}

// stable returns the spec of an object without addresses that the API server
// allocates and without the name of the test's namespace.
func stable(u *unstructured.Unstructured, namespace string) string {
	spec, _, _ := unstructured.NestedMap(u.Object, "spec")
	for _, f := range []string{"clusterIP", "clusterIPs"} {
		delete(spec, f)
	}
	return replaceAll(fmt.Sprint(spec), namespace)
}
