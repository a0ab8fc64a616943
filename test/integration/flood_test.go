// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// floodSize is the number of objects of the tenant that floods the operator. "make flood"
// sets $MESHVM_FLOOD.
func floodSize(t *testing.T) int {
	t.Helper()
	text := os.Getenv("MESHVM_FLOOD")
	if text == "" {
		return 60
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("MESHVM_FLOOD: %v", err)
	}
	return n
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

// createFlood creates the objects of the tenant while no operator runs.
func (s *suite) createFlood(size int) {
	s.Helper()
	s.stop()
	var created sync.WaitGroup
	for worker := range 8 {
		created.Go(func() {
			for i := worker; i < size; i += 8 {
				o := s.web()
				o.Name = fmt.Sprintf("flood-%d", i)
				if err := s.Create(s.Context(), o); err != nil {
					s.Error(err)
				}
			}
		})
	}
	created.Wait()
}

// TestFloodOfOneTenant checks that, while the objects of one tenant fill the operator's
// queue, the object of another tenant is reconciled next, not last.
func TestFloodOfOneTenant(t *testing.T) {
	s := start(t)
	other := s.namespace + "-other"
	s.makeNamespace(other)
	size := floodSize(t)
	s.createFlood(size)
	begin := time.Now()
	s.run(nil)
	s.eventually("the operator works on the flood", func() error {
		var services corev1.ServiceList
		if err := s.List(s.Context(), &services, client.InNamespace(s.namespace), client.Limit(1)); err != nil {
			return err
		}
		if len(services.Items) == 0 {
			return errors.New("nothing is done yet")
		}
		return nil
	})
	o, asked := s.createFor(other)
	s.eventually("the object of the other tenant is reconciled", func() error {
		return s.Get(s.Context(), client.ObjectKeyFromObject(o), &corev1.Service{})
	})
	took := time.Since(asked)
	before := s.servicesBetween(o, other)
	if before > size/2 {
		t.Errorf("the other tenant waited for %d of %d objects of the flood", before, size)
	}
	end, limited := t.Deadline()
	done, all := s.handled(s.namespace)
	for done < all && (!limited || time.Until(end) > time.Minute) {
		time.Sleep(time.Duration(size) * time.Millisecond) // Counting reads all objects of the flood.
		done, all = s.handled(s.namespace)
	}
	flood := time.Since(begin)
	if done < all {
		t.Errorf("%d of %d objects of the flood were reconciled in %s", done, all, flood.Round(time.Second))
	}
	if err := s.Delete(s.Context(), o); err != nil {
		t.Error(err)
	}
	t.Logf("flood of %d objects: %s; the other tenant waited %s, %.1f%% of it, and for %d objects of the flood",
		all, flood.Round(time.Millisecond), took.Round(time.Millisecond), 100*took.Seconds()/flood.Seconds(), before)
}

// createFor creates an object of another tenant.
func (s *suite) createFor(namespace string) (o *v1alpha1.MeshedVirtualMachine, asked time.Time) {
	s.Helper()
	o, asked = s.web(), time.Now()
	o.Namespace = namespace
	if err := s.Create(s.Context(), o); err != nil {
		s.Fatal(err)
	}
	return o, asked
}

// TestEndlessEditsOfOneTenant edits the objects of one tenant without an end. The object
// of another tenant is reconciled meanwhile.
func TestEndlessEditsOfOneTenant(t *testing.T) {
	s := start(t)
	other := s.namespace + "-other"
	s.makeNamespace(other)
	const objects = 20
	s.createFlood(objects)
	s.run(nil)
	ctx, cancel := context.WithCancel(s.Context())
	var edits atomic.Int64
	var editors sync.WaitGroup
	for i := range objects {
		editors.Go(func() {
			target := &v1alpha1.MeshedVirtualMachine{}
			target.Namespace, target.Name = s.namespace, fmt.Sprintf("flood-%d", i)
			for n := 1; ctx.Err() == nil; n++ {
				patch := fmt.Sprintf(`{"spec":{"version":"v%d"}}`, n)
				if err := s.Patch(ctx, target, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil && ctx.Err() == nil {
					t.Error(err)
					return
				}
				edits.Add(1)
			}
		})
	}
	stop := sync.OnceFunc(func() { cancel(); editors.Wait() })
	defer stop()
	s.eventually("every object was edited", func() error {
		if n := edits.Load(); n < 5*objects {
			return fmt.Errorf("%d edits", n)
		}
		return nil
	})
	first := edits.Load()
	o, asked := s.createFor(other)
	s.eventually("the object of the other tenant is reconciled", func() error {
		if done, _ := s.handled(other); done == 0 {
			return errors.New("it is not")
		}
		return nil
	})
	took, during := time.Since(asked), edits.Load()-first
	stop()
	if err := s.Delete(s.Context(), o); err != nil {
		t.Error(err)
	}
	t.Logf("the other tenant waited %s during %d edits of %d objects", took.Round(time.Millisecond), during, objects)
}
