// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// floodSize is the number of objects of the tenant that floods the operator.
// $MESHVM_FLOOD changes it.
func floodSize() int {
	if n, err := strconv.Atoi(os.Getenv("MESHVM_FLOOD")); err == nil {
		return n
	}
	return 60
}

// handled reports how many MeshedVirtualMachines of a namespace have a status.
func (s *suite) handled(namespace string) (done, all int) {
	s.Helper()
	var list v1alpha1.MeshedVirtualMachineList
	if err := s.List(s.Context(), &list, client.InNamespace(namespace)); err != nil {
		s.Fatal(err)
	}
	for i := range list.Items {
		if meta.IsStatusConditionTrue(list.Items[i].Status.Conditions, string(v1alpha1.ConditionServiceReady)) {
			done++
		}
	}
	return done, len(list.Items)
}

// servicesBetween returns the number of Services of the flood that the operator created
// after o was created and before it created the Service of o. Resource versions show the
// order, and the speed of the test has no effect on them.
func (s *suite) servicesBetween(o *v1alpha1.MeshedVirtualMachine, namespace string) (n int) {
	s.Helper()
	revision := func(o client.Object) uint64 {
		v, err := strconv.ParseUint(o.GetResourceVersion(), 10, 64)
		if err != nil {
			s.Fatal(err)
		}
		return v
	}
	own, all := &corev1.Service{}, &corev1.ServiceList{}
	if err := errors.Join(
		s.Get(s.Context(), client.ObjectKey{Namespace: namespace, Name: o.Name}, own),
		s.List(s.Context(), all, client.InNamespace(s.namespace)),
	); err != nil {
		s.Fatal(err)
	}
	for i := range all.Items {
		if at := revision(&all.Items[i]); at > revision(o) && at < revision(own) {
			n++
		}
	}
	return n
}

// TestFloodOfOneTenant: while the objects of one tenant fill the operator's queue,
// the object of another tenant is reconciled next, not last.
func TestFloodOfOneTenant(t *testing.T) {
	s := start(t)
	other := s.namespace + "-other"
	s.makeNamespace(other)
	size := floodSize()
	s.stop()
	var created sync.WaitGroup
	for worker := range 8 {
		created.Go(func() {
			for i := worker; i < size; i += 8 {
				o := s.web()
				o.Name = fmt.Sprintf("flood-%d", i)
				if err := s.Create(s.Context(), o); err != nil {
					t.Error(err)
				}
			}
		})
	}
	created.Wait()
	begin := time.Now()
	s.run(nil)
	s.eventually("the operator works on the flood", func() error {
		if done, _ := s.handled(s.namespace); done == 0 {
			return errors.New("nothing is done yet")
		}
		return nil
	})
	o := s.web()
	o.Namespace = other
	asked := time.Now()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.eventually("the object of the other tenant is reconciled", func() error {
		if done, _ := s.handled(other); done == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	took := time.Since(asked)
	if n := s.servicesBetween(o, other); n > size/2 {
		t.Errorf("the other tenant waited for %d of %d objects of the flood", n, size)
	}
	if err := s.Delete(s.Context(), o); err != nil {
		t.Error(err)
	}
	done, all := s.handled(s.namespace)
	for done < all && time.Since(begin) < 10*time.Minute {
		time.Sleep(100 * time.Millisecond)
		done, all = s.handled(s.namespace)
	}
	flood := time.Since(begin)
	t.Logf("flood of %d objects: %s; the other tenant waited %s, %.1f%% of it",
		all, flood.Round(time.Millisecond), took.Round(time.Millisecond), 100*took.Seconds()/flood.Seconds())
}
