// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// sequences is the number of random sequences, and steps the length of each.
	sequences = 200
	steps     = 8
	// sequenceWorkers is the number of sequences that run at the same time. Each
	// worker has a namespace.
	sequenceWorkers = 10
	// operatorRestarts is the number of restarts of the operator meanwhile.
	operatorRestarts = 3
)

// TestRandomSequences writes to VirtualMachines as hotplug, restores, migrations of
// volumes, label tools and users do, in random order, while the operator reconciles
// them and is restarted. After each sequence the VirtualMachine equals the model
// (sequencemodel_test.go): no entry of another client is lost, each edit of the spec is
// applied, and the operator has written at most once for each write of others.
// MESHVM_SEED=N selects other sequences. The same sequences run in each run, but the
// operator sees their writes at other times.
func TestRandomSequences(t *testing.T) {
	seed := fromEnvironment(t, "MESHVM_SEED", 1)
	s := start(t, func(o *controllers.Options) { o.Workers = 8 })
	began := time.Now()
	next, results := make(chan int), make(chan *sequence, sequences)
	var workers sync.WaitGroup
	for w := range sequenceWorkers {
		namespace := fmt.Sprintf("%s-%d", s.namespace, w)
		s.makeNamespace(namespace)
		s.Cleanup(func() { // The operators of the next tests would reconcile the objects.
			if err := s.DeleteAllOf(context.WithoutCancel(t.Context()), &v1alpha1.MeshedVirtualMachine{}, client.InNamespace(namespace)); err != nil {
				t.Error(err)
			}
		})
		workers.Go(func() {
			for i := range next {
				q := newSequence(s, namespace, i, seed)
				q.err = q.run(t.Context())
				results <- q
			}
		})
	}
	for i := range sequences {
		next <- i
		if restartAfter := sequences / (operatorRestarts + 1); i > 0 && i%restartAfter == 0 {
			s.restart(func(o *controllers.Options) { o.Workers = 8 })
		}
	}
	close(next)
	workers.Wait()
	close(results)

	s.quiet()
	others, writes := 0, 0
	for q := range results {
		err := q.err
		if err == nil {
			err = q.check(t.Context()) // Nothing changed since.
		}
		n := s.calls.patches(q.path())
		if err == nil && n > q.writes+1 {
			err = fmt.Errorf("%d writes of the operator, want at most one for the creation and one for each of %d writes of others", n, q.writes)
		}
		if err != nil {
			t.Errorf("sequence %d: %v; steps:\n%s", q.index, err, q.history())
		}
		others, writes = others+q.writes, writes+n
	}
	t.Logf("%d sequences in %s: %d writes of others, %d writes of the operator including %d creations, %d restarts of the operator",
		sequences, time.Since(began).Round(time.Second), others, writes, sequences, operatorRestarts)
}

// sequence is one MeshedVirtualMachine and the writes to it and its VirtualMachine.
type sequence struct {
	client.Client
	*model
	key    client.ObjectKey
	index  int
	random *rand.Rand
	log    []string
	// writes is the number of writes of others.
	writes int
	err    error
}

func newSequence(s *suite, namespace string, index int, seed uint64) *sequence {
	return &sequence{
		Client: s.Client, model: newModel(), index: index,
		key:    client.ObjectKey{Namespace: namespace, Name: fmt.Sprintf("m-%d", index)},
		random: rand.New(rand.NewPCG(seed, uint64(index))), //nolint:gosec // Reproducible.
	}
}

func (q *sequence) path() string {
	return fmt.Sprintf("/apis/kubevirt.io/v1/namespaces/%s/virtualmachines/%s", q.key.Namespace, q.key.Name)
}

func (q *sequence) history() string {
	out := ""
	for _, l := range q.log {
		out += "  " + l + "\n"
	}
	return out
}

// run creates the MeshedVirtualMachine and carries out random steps.
func (q *sequence) run(ctx context.Context) error {
	o := (&suite{namespace: q.key.Namespace}).stateful()
	o.Name = q.key.Name
	primary(&o.Spec.VirtualMachine.Template.Spec)
	if err := q.Create(ctx, o); err != nil {
		return err
	}
	if err := q.settle(ctx); err != nil {
		return err
	}
	for range steps {
		step := allSteps[q.random.IntN(len(allSteps))]
		a := step.prepare(q.model, q.random)
		if a == nil {
			continue // The step is not possible in this state.
		}
		// The result of a user's edit and another client's write of the same entry
		// depends on which of them the operator sees first.
		if a.foreign != nil && q.pending(a.keys) {
			if q.busy {
				continue
			}
			if err := q.settle(ctx); err != nil {
				return err
			}
		}
		q.log = append(q.log, step.name+" "+fmt.Sprint(a.keys))
		if err := q.carryOut(ctx, a); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
		if a.settle || q.random.IntN(3) == 0 && !q.busy {
			if err := q.settle(ctx); err != nil {
				return err
			}
		}
	}
	if q.busy {
		q.log = append(q.log, "the restore completes")
		if err := q.carryOut(ctx, completeRestore(q.model)); err != nil {
			return err
		}
	}
	return q.settle(ctx)
}

// carryOut writes one step and updates the model.
func (q *sequence) carryOut(ctx context.Context, a *action) error {
	q.writes++
	managers := []string{"virt-controller", "virtctl", "kubectl-edit", "velero"}
	manager := managers[q.random.IntN(len(managers))]
	update := q.random.IntN(2) == 0
	for attempt := 0; ; attempt++ {
		err := q.write(ctx, a, manager, update)
		if err == nil {
			a.applied(q.model)
			return nil
		}
		if attempt == 20 || !isConflict(err) {
			return err
		}
	}
}

func (q *sequence) write(ctx context.Context, a *action, manager string, update bool) error {
	if a.user != nil {
		before := &v1alpha1.MeshedVirtualMachine{}
		if err := q.Get(ctx, q.key, before); err != nil {
			return err
		}
		after := before.DeepCopy()
		a.user(&after.Spec)
		return q.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	}
	before := &kubevirtv1.VirtualMachine{}
	if err := q.Get(ctx, q.key, before); err != nil {
		return err
	}
	// A lost entry would otherwise be noticed only if it is still lost at the end.
	if err := q.foreignPresent(before); err != nil {
		return err
	}
	after := before.DeepCopy()
	if a.status != nil {
		a.status(&after.Status)
		return q.Status().Patch(ctx, after, client.MergeFrom(before))
	}
	a.foreign(after)
	owner := client.FieldOwner(manager)
	if update {
		return q.Update(ctx, after, owner)
	}
	return q.Patch(ctx, after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), owner)
}

// settle waits until the operator has seen every write, and forgets pending edits.
func (q *sequence) settle(ctx context.Context) error {
	deadline := time.Now().Add(waitTimeout)
	for interval := 20 * time.Millisecond; ; interval = min(2*interval, 300*time.Millisecond) {
		err := q.check(ctx)
		if err == nil {
			if !q.busy {
				clear(q.edited)
			}
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s: %w", waitTimeout, err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval): // The API server is another process.
		}
	}
}

// check compares the VirtualMachine and the status with the model.
func (q *sequence) check(ctx context.Context) error {
	mvm, vm := &v1alpha1.MeshedVirtualMachine{}, &kubevirtv1.VirtualMachine{}
	if err := errors.Join(q.Get(ctx, q.key, mvm), q.Get(ctx, q.key, vm)); err != nil {
		return err
	}
	if q.busy {
		return q.foreignPresent(vm)
	}
	if mvm.Status.ObservedGeneration != mvm.Generation {
		return fmt.Errorf("observed generation %d, want %d", mvm.Status.ObservedGeneration, mvm.Generation)
	}
	if vm.Annotations[v1alpha1.AnnotationOwnedEntries] == "" {
		return errors.New("the VirtualMachine has no record of owned entries")
	}
	got, want := observed(vm), q.expected()
	if !slices.Equal(got, want) {
		return fmt.Errorf("got  %v\nwant %v", got, want)
	}
	adjusted := slices.ContainsFunc(mvm.Status.Conditions, isAdjusted)
	if adjusted != q.differs() {
		return fmt.Errorf("VirtualMachineAdjusted is present: %t, want %t", adjusted, q.differs())
	}
	return nil
}
