// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshvm.io/meshvm/api/v1alpha1"
)

// TestOwnership checks for each kind of owner whether the operator writes an
// object. The expected error is "" for an object that it writes.
func TestOwnership(t *testing.T) {
	created := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	owner := &v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "web", UID: "u1", CreationTimestamp: metav1.NewTime(created),
	}}
	labels := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelMeshedVirtualMachine: "web"}
	ref := func(kind, name, uid string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, UID: types.UID(uid), Controller: new(true)}}
	}
	const conflict, ending = "is not controlled by this MeshedVirtualMachine", "is being deleted"
	tests := map[string]struct {
		labels map[string]string
		refs   []metav1.OwnerReference
		age    time.Duration
		want   string
	}{
		"controlled":                                 {labels, ref(ownerKind, "web", "u1"), 0, ""},
		"controlled, labels removed":                 {nil, ref(ownerKind, "web", "u1"), 0, ""},
		"restored without references":                {labels, nil, 0, ""},
		"restored without references, older":         {labels, nil, time.Hour, ""},
		"restored with the reference of an owner":    {labels, ref(ownerKind, "web", "u0"), -time.Hour, ""},
		"the same second":                            {labels, ref(ownerKind, "web", "u0"), 0, ""},
		"of an owner that was deleted":               {labels, ref(ownerKind, "web", "u0"), time.Hour, ending},
		"of an owner that was deleted, no labels":    {nil, ref(ownerKind, "web", "u0"), -time.Hour, ending},
		"without labels":                             {nil, nil, 0, conflict},
		"of another MeshedVirtualMachine":            {map[string]string{v1alpha1.LabelManagedBy: "meshvm", v1alpha1.LabelMeshedVirtualMachine: "db"}, nil, 0, conflict},
		"of another manager":                         {map[string]string{v1alpha1.LabelManagedBy: "Helm", v1alpha1.LabelMeshedVirtualMachine: "web"}, nil, 0, conflict},
		"controlled by another MeshedVirtualMachine": {labels, ref(ownerKind, "db", "u2"), 0, conflict},
		"controlled by another kind":                 {labels, ref("ReplicaSet", "web", "u3"), 0, conflict},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			live := mustIntent(t, service())
			live.SetLabels(tc.labels)
			live.SetOwnerReferences(tc.refs)
			live.SetCreationTimestamp(metav1.NewTime(created.Add(-tc.age)))
			err := Applier{}.ownedBy(live, owner)
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("got %v, want %q", err, tc.want)
			case err != nil && (strings.Contains(err.Error(), "delete the") || strings.Contains(err.Error(), "remove")):
				t.Errorf("the message recommends deleting an object: %v", err)
			}
			if got := IsForeign(live, owner); got != (tc.want == conflict) {
				t.Errorf("the object is foreign: %t", got)
			}
		})
	}
	elsewhere := mustIntent(t, service())
	elsewhere.SetLabels(labels)
	elsewhere.SetNamespace("other")
	if isOrphan(elsewhere, owner) {
		t.Error("an object of another namespace was treated as an orphan")
	}
}

// TestOwnershipOfMembers checks which objects the lead of a Service takes over.
func TestOwnershipOfMembers(t *testing.T) {
	owner := &v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-b", UID: "b"}}
	peer := &v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-c", UID: "c"}}
	managed := map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelService: "web"}
	mvm := func(uid string, controls bool) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: "meshvm.io/v1alpha1", Kind: ownerKind, Name: "web-" + uid, UID: types.UID(uid), Controller: new(controls)}
	}
	foreign := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web", UID: "d"}
	for name, tc := range map[string]struct {
		labels map[string]string
		refs   []metav1.OwnerReference
		want   bool
	}{
		"another member controls it":              {managed, []metav1.OwnerReference{mvm("c", true)}, true},
		"another member, labels removed":          {nil, []metav1.OwnerReference{mvm("c", true)}, true},
		"the earlier lead controls it":            {managed, []metav1.OwnerReference{mvm("a", true), mvm("b", false)}, true},
		"the earlier lead was deleted":            {managed, []metav1.OwnerReference{mvm("b", false)}, true},
		"an MVM of another Service controls it":   {managed, []metav1.OwnerReference{mvm("a", true)}, false},
		"a user's object with a reference":        {nil, []metav1.OwnerReference{mvm("b", false)}, false},
		"another kind is an owner":                {managed, []metav1.OwnerReference{mvm("b", false), foreign}, false},
		"the label of another Service":            {map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelService: "db"}, []metav1.OwnerReference{mvm("c", true)}, false},
		"restored without references":             {map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelService: "web", v1alpha1.LabelMeshedVirtualMachine: "web-c"}, nil, true},
		"a member was deleted without it":         {managed, nil, true},
		"no owner and no label of the operator":   {map[string]string{v1alpha1.LabelService: "web"}, nil, false},
		"no owner and no label of a Service":      {map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}, nil, false},
		"a Deployment with the name of the group": {managed, []metav1.OwnerReference{{APIVersion: "meshvm.io.example.com/v1", Kind: ownerKind, UID: "b"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			live := mustIntent(t, service())
			live.SetLabels(tc.labels)
			live.SetOwnerReferences(tc.refs)
			live.SetName("web")
			err := Applier{Members: []metav1.Object{peer}}.ownedBy(live, owner)
			if (err == nil) != tc.want {
				t.Errorf("got %v, want %t", err, tc.want)
			}
			if err := (Applier{}).ownedBy(live, owner); err == nil {
				t.Error("an object that is not of a Service was taken over")
			}
			live.SetNamespace("other")
			if (Applier{Members: []metav1.Object{peer}}).ofMembers(live, owner) {
				t.Error("an object of another namespace was taken over")
			}
		})
	}
}

func TestAdoptedReferences(t *testing.T) {
	live, want := mustIntent(t, service()), mustIntent(t, service())
	live.SetOwnerReferences([]metav1.OwnerReference{{Name: "other", UID: "o"}, {Name: "web", UID: "u0", Controller: new(true)}, {Name: "web", UID: "u1"}})
	want.SetOwnerReferences([]metav1.OwnerReference{{Name: "web", UID: "u1", Controller: new(true)}})
	var got []string
	for _, r := range adoptedReferences(live, want) {
		got = append(got, r.(map[string]any)["uid"].(string))
	}
	if diff := cmp.Diff([]string{"o", "u1"}, got); diff != "" {
		t.Error(diff)
	}
}

func TestSurplusPatch(t *testing.T) {
	live := map[string]any{"a": "1", "b": map[string]any{"c": "2", "d": "3"}, "e": []any{"x"}, "f": "4"}
	want := map[string]any{"a": "9", "b": map[string]any{"c": "2"}, "e": []any{"y"}}
	if diff := cmp.Diff(map[string]any{"b": map[string]any{"d": nil}, "f": nil}, surplusPatch(live, want)); diff != "" {
		t.Error(diff)
	}
	if p := surplusPatch(want, live); p != nil {
		t.Errorf("a patch of an object without surplus fields: %v", p)
	}
}
