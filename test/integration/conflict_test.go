// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// overtaken is a reader after whose first reads another client writes the object.
type overtaken struct {
	client.Reader
	other  client.Client
	writes int
	done   int
}

func (o *overtaken) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	if err := o.Reader.Get(ctx, key, obj, opts...); err != nil || o.done == o.writes {
		return err
	}
	o.done++
	label := fmt.Appendf(nil, `{"metadata":{"labels":{"other":"%d"}}}`, o.done)
	cm := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	return o.other.Patch(ctx, cm, client.RawPatch("application/merge-patch+json", label))
}

// TestConflictsOfSharedObjects applies an object while another client writes it between
// each read and write. The write is repeated, and a permanent conflict is returned after
// eight writes.
func TestConflictsOfSharedObjects(t *testing.T) {
	for others, wantWrites := range map[int]int{0: 1, 3: 4, 7: 8, 100: 8} {
		t.Run(fmt.Sprintf("%d writes of another client", others), func(t *testing.T) {
			s := start(t)
			calls := &recorder{}
			cfg := rest.CopyConfig(shared.Get(t).Config)
			cfg.Wrap(calls.wrap)
			c, err := client.New(cfg, client.Options{Scheme: s.Scheme()})
			if err != nil {
				t.Fatal(err)
			}
			owner := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "owner"}}
			if err := s.Create(t.Context(), owner); err != nil {
				t.Fatal(err)
			}
			desired := &corev1.ConfigMap{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
				ObjectMeta: metav1.ObjectMeta{
					Namespace: s.namespace, Name: "shared",
					OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(owner, corev1.SchemeGroupVersion.WithKind("ConfigMap"))},
				},
			}
			reader := &overtaken{Reader: c, other: s.Client}
			a := apply.Applier{Client: c, Reader: reader, Merge: func(want, _ *unstructured.Unstructured) *unstructured.Unstructured { return want }}
			if _, err := a.Apply(t.Context(), desired, owner); err != nil {
				t.Fatal(err)
			}
			calls.reset(nil)
			reader.writes = others
			desired.Data = map[string]string{"key": "value"}
			_, err = a.Apply(t.Context(), desired, owner)
			if lost := others >= wantWrites; lost != apierrors.IsConflict(err) || !lost && err != nil {
				t.Errorf("error %v", err)
			}
			if n := calls.count("apply", "configmaps"); n != wantWrites {
				t.Errorf("%d writes, want %d", n, wantWrites)
			}
		})
	}
}

// TestConflictWithPolicyOfAnotherGuest: a PeerAuthentication that selects another guest
// has the name of a MeshedVirtualMachine. When it is deleted, the conflict ends without
// another event.
func TestConflictWithPolicyOfAnotherGuest(t *testing.T) {
	s := start(t)
	other := s.istioObject(children.PeerAuthenticationKind, s.namespace, "web", map[string]any{
		"selector": map[string]any{"matchLabels": map[string]any{v1alpha1.LabelMeshedVirtualMachine: "db"}},
	})
	if err := s.Create(s.Context(), s.web()); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("web", want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict})
	s.quiet()
	if err := s.Delete(s.Context(), other); err != nil {
		t.Fatal(err)
	}
	s.awaitVM("web")
}
