// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// specSequences is the number of random sequences of specs. MESHVM_SPEC_SEQUENCES
	// changes it ("make test-sequences").
	specSequences = 150
	// specWorkers is the number of sequences that run at the same time.
	specWorkers = 8
)

// TestSpecSequences changes the spec of a MeshedVirtualMachine through random specs, of
// which some are not accepted, to a last spec. Its children must then equal the children
// of a new object that had only the last spec. (The oracle is that of
// "Automatic Reliability Testing for Cluster Management Controllers", SOSP 2023.) A spec
// that is not accepted must not change a child. MESHVM_SEED=N selects other sequences.
func TestSpecSequences(t *testing.T) {
	seed, count := fromEnvironment(t, "MESHVM_SEED", 1), fromEnvironment(t, "MESHVM_SPEC_SEQUENCES", specSequences)
	s := start(t, func(o *controllers.Options) { o.Workers, o.Patches = 8, configv1alpha1.Enabled })
	began := time.Now()
	next := make(chan int)
	var workers sync.WaitGroup
	var mu sync.Mutex
	total := specCounts{}
	for w := range specWorkers {
		changed, fresh := fmt.Sprintf("%s-a%d", s.namespace, w), fmt.Sprintf("%s-b%d", s.namespace, w)
		for _, namespace := range []string{changed, fresh} {
			s.makeNamespace(namespace)
			s.makeServiceAccount(namespace, "default")
			s.makeServiceAccount(namespace, "db")
		}
		s.Cleanup(func() { // The operators of the next tests would reconcile the objects.
			for _, namespace := range []string{changed, fresh} {
				if err := s.DeleteAllOf(context.WithoutCancel(t.Context()), &v1alpha1.MeshedVirtualMachine{}, client.InNamespace(namespace)); err != nil {
					t.Error(err)
				}
			}
		})
		workers.Go(func() {
			for i := range next {
				q := &specSequence{
					Client: s.Client, name: fmt.Sprintf("m-%d", i), changed: changed, fresh: fresh,
					random: rand.New(rand.NewPCG(seed, uint64(i))), //nolint:gosec // Reproducible.
				}
				if err := q.run(t.Context()); err != nil {
					t.Errorf("sequence %d: %v\nspecs:\n%s", i, err, strings.Join(q.log, "\n"))
				}
				mu.Lock()
				total.add(q.counts)
				mu.Unlock()
			}
		})
	}
	for i := range int(count) { //nolint:gosec // A small number.
		next <- i
	}
	close(next)
	workers.Wait()
	t.Logf("%d sequences in %s: %d accepted specs, %d refused by the API server, %d not accepted by the operator, %d children compared",
		count, time.Since(began).Round(time.Second), total.accepted, total.refused, total.notAccepted, total.compared)
	if total.refused == 0 || total.notAccepted == 0 {
		t.Error("no spec was refused: the sequences do not test what they should")
	}
}

// fromEnvironment returns the number in a variable of the environment, and prints it.
func fromEnvironment(t *testing.T, name string, number uint64) uint64 {
	t.Helper()
	if text := os.Getenv(name); text != "" {
		var err error
		if number, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	t.Logf("%s=%d", name, number)
	return number
}

// specCounts counts what the sequences did.
type specCounts struct{ accepted, refused, notAccepted, compared int }

func (c *specCounts) add(o specCounts) {
	c.accepted, c.refused = c.accepted+o.accepted, c.refused+o.refused
	c.notAccepted, c.compared = c.notAccepted+o.notAccepted, c.compared+o.compared
}

// specSequence is one object whose spec changes, and one that has only the last spec.
// They have the same name in two namespaces.
type specSequence struct {
	client.Client
	name           string
	changed, fresh string
	random         *rand.Rand
	log            []string
	counts         specCounts
}

func (q *specSequence) run(ctx context.Context) error {
	family := specFamilies[q.random.IntN(len(specFamilies))]
	spec := family.spec(q.random, q.name)
	for step := range 2 + q.random.IntN(3) {
		if step > 0 {
			spec = family.spec(q.random, q.name)
		}
		q.log = append(q.log, describeSpec(spec))
		if err := q.write(ctx, q.changed, spec); err != nil {
			return err
		}
		q.counts.accepted++
		if q.random.IntN(2) == 0 {
			continue // The next spec is written while the operator applies this one.
		}
		if err := q.writeBad(ctx); err != nil {
			return err
		}
	}
	// A spec that is not accepted precedes the last one in some sequences.
	if err := q.write(ctx, q.changed, spec); err != nil {
		return err
	}
	if err := q.write(ctx, q.fresh, spec); err != nil {
		return err
	}
	got, err := q.settled(ctx, q.changed)
	if err != nil {
		return fmt.Errorf("the changed object: %w", err)
	}
	want, err := q.settled(ctx, q.fresh)
	if err != nil {
		return fmt.Errorf("the new object: %w", err)
	}
	q.counts.compared += len(want)
	if d := cmp.Diff(comparableObjects(want, q.fresh), comparableObjects(got, q.changed)); d != "" {
		return fmt.Errorf("the children differ from those of a new object (-new +changed):\n%s", d)
	}
	return errors.Join(q.delete(ctx, q.changed), q.delete(ctx, q.fresh))
}

// writeBad writes a spec that is refused or not accepted, and checks that no child changes.
func (q *specSequence) writeBad(ctx context.Context) error {
	before, err := q.settled(ctx, q.changed)
	if err != nil {
		return err
	}
	bad := badSpecs[q.random.IntN(len(badSpecs))]
	q.log = append(q.log, "not accepted: "+fmt.Sprint(bad))
	current := q.object(q.changed, nil)
	if err := q.Get(ctx, client.ObjectKeyFromObject(current), current); err != nil {
		return err
	}
	spec, _ := runtimeCopy(current.Object["spec"]).(map[string]any)
	bad.set(spec)
	switch err := q.write(ctx, q.changed, spec); {
	case apierrors.IsInvalid(err):
		q.counts.refused++
	case err != nil:
		return err
	default:
		q.counts.notAccepted++
		if err := q.await(ctx, q.changed, v1alpha1.ConditionAccepted, metav1.ConditionFalse); err != nil {
			return fmt.Errorf("a spec with %v: %w", bad, err)
		}
	}
	after, err := q.children(ctx, q.changed)
	if err != nil {
		return err
	}
	if d := cmp.Diff(before, after); d != "" {
		return fmt.Errorf("a spec that was not accepted changed the children (-before +after):\n%s", d)
	}
	return nil
}

func describeSpec(spec map[string]any) string {
	text, err := json.Marshal(spec)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (q *specSequence) object(namespace string, spec map[string]any) *unstructured.Unstructured {
	o := &unstructured.Unstructured{Object: map[string]any{
		"metadata": map[string]any{"name": q.name, "namespace": namespace}, "spec": spec,
	}}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine"))
	return o
}

// write creates the object or replaces its spec.
func (q *specSequence) write(ctx context.Context, namespace string, spec map[string]any) error {
	for {
		o := q.object(namespace, nil)
		err := q.Get(ctx, client.ObjectKeyFromObject(o), o)
		if apierrors.IsNotFound(err) {
			return q.Create(ctx, q.object(namespace, spec))
		}
		if err != nil {
			return err
		}
		o.Object["spec"] = spec
		if err = q.Update(ctx, o); !apierrors.IsConflict(err) {
			return err
		}
	}
}

func (q *specSequence) delete(ctx context.Context, namespace string) error {
	return q.Delete(ctx, q.object(namespace, nil), client.PropagationPolicy(metav1.DeletePropagationBackground))
}

// settled waits until the object reports that its children match its spec, and returns
// the children.
func (q *specSequence) settled(ctx context.Context, namespace string) (map[string]map[string]any, error) {
	for _, t := range []v1alpha1.ConditionType{v1alpha1.ConditionAccepted, v1alpha1.ConditionServiceReady, v1alpha1.ConditionMeshPolicyApplied} {
		if err := q.await(ctx, namespace, t, metav1.ConditionTrue); err != nil {
			return nil, err
		}
	}
	return q.children(ctx, namespace)
}

// await waits until a condition has the status at the generation of the object.
func (q *specSequence) await(ctx context.Context, namespace string, t v1alpha1.ConditionType, status metav1.ConditionStatus) error {
	deadline := time.Now().Add(waitTimeout)
	for interval := 20 * time.Millisecond; ; interval = min(2*interval, 300*time.Millisecond) {
		o := &v1alpha1.MeshedVirtualMachine{}
		if err := q.Get(ctx, client.ObjectKey{Namespace: namespace, Name: q.name}, o); err != nil {
			return err
		}
		c := meta.FindStatusCondition(o.Status.Conditions, string(t))
		if c != nil && c.ObservedGeneration == o.Generation && c.Status == status {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("waited %s until %s is %s, it is %+v", waitTimeout, t, status, c)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(interval): // The API server is another process.
		}
	}
}

// children reads the objects of all kinds that have the label of the object.
func (q *specSequence) children(ctx context.Context, namespace string) (map[string]map[string]any, error) {
	found := map[string]map[string]any{}
	for _, kind := range children.Kinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err := q.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelMeshedVirtualMachine: q.name}); err != nil {
			return nil, err
		}
		for i := range list.Items {
			if o := &list.Items[i]; o.GetDeletionTimestamp().IsZero() {
				found[apply.Describe(o)] = o.Object
			}
		}
	}
	return found, nil
}

// comparableObjects removes from the objects what differs between two objects of the same spec:
// the namespace, what the API server generates, and the digest of the whole.
func comparableObjects(objects map[string]map[string]any, namespace string) map[string]any {
	out := map[string]any{}
	for key, o := range objects {
		content, _ := runtimeCopy(o).(map[string]any)
		u := &unstructured.Unstructured{Object: content}
		for _, f := range [][]string{
			{"status"},
			{"metadata", "uid"},
			{"metadata", "resourceVersion"},
			{"metadata", "generation"},
			{"metadata", "creationTimestamp"},
			{"metadata", "managedFields"},
			{"metadata", "annotations", v1alpha1.AnnotationAppliedDigest},
		} {
			unstructured.RemoveNestedField(u.Object, f...)
		}
		if u.GroupVersionKind() == children.ServiceKind {
			for _, f := range []string{"clusterIP", "clusterIPs", "healthCheckNodePort"} {
				unstructured.RemoveNestedField(u.Object, "spec", f)
			}
			ports, _, _ := unstructured.NestedSlice(u.Object, "spec", "ports")
			for _, p := range ports {
				if p, ok := p.(map[string]any); ok {
					delete(p, "nodePort")
				}
			}
			_ = unstructured.SetNestedSlice(u.Object, ports, "spec", "ports")
		}
		owners := u.GetOwnerReferences()
		for i := range owners {
			owners[i].UID = ""
		}
		u.SetOwnerReferences(owners)
		out[strings.ReplaceAll(key, namespace, "NAMESPACE")] = withoutNamespace(u.Object, namespace)
	}
	return out
}

// withoutNamespace replaces the namespace in all texts.
func withoutNamespace(v any, namespace string) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = withoutNamespace(e, namespace)
		}
		return out
	case []any:
		out := slices.Clone(v)
		for i, e := range out {
			out[i] = withoutNamespace(e, namespace)
		}
		return out
	case string:
		return replaceAll(v, namespace)
	default:
		return v
	}
}
