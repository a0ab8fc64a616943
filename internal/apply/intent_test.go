// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"

	"meshvm.io/meshvm/api/v1alpha1"
)

func service(mods ...func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Service"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", OwnerReferences: []metav1.OwnerReference{{UID: "u1", Name: "web"}}},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "web"}, Ports: []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(80)}}},
	}
	for _, m := range mods {
		m(s)
	}
	return s
}

func mustIntent(t *testing.T, o Object) *unstructured.Unstructured {
	t.Helper()
	u, err := Intent(o)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// TestHoldsExclusiveSpec checks that any further field of an exclusive object is a
// difference, and that fields of other objects are not.
func TestHoldsExclusiveSpec(t *testing.T) {
	policy := func(version, kind string, change func(spec, rule map[string]any)) *unstructured.Unstructured {
		rule := map[string]any{"to": []any{map[string]any{"operation": map[string]any{"ports": []any{"80"}}}}}
		spec := map[string]any{"selector": map[string]any{"matchLabels": map[string]any{"app": "web"}}, "rules": []any{rule}}
		change(spec, rule)
		u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		u.SetAPIVersion(version)
		u.SetKind(kind)
		return u
	}
	const security, networking = "security.istio.io/v1", "networking.istio.io/v1alpha3"
	exclusive := map[[2]string]bool{
		{security, "AuthorizationPolicy"}: true, {networking, "EnvoyFilter"}: true,
		{networking, "Sidecar"}: true, {networking, "ServiceEntry"}: true, {"telemetry.istio.io/v1", "Telemetry"}: true,
		{security, "PeerAuthentication"}: false, {networking, "VirtualService"}: false, {"v1", "Service"}: false,
	}
	for name, change := range map[string]func(spec, rule map[string]any){
		"action":         func(spec, _ map[string]any) { spec["action"] = "DENY" },
		"empty provider": func(spec, _ map[string]any) { spec["provider"] = map[string]any{} },
		"condition":      func(_, rule map[string]any) { rule["when"] = []any{map[string]any{"key": "source.ip"}} },
		"label of the pods": func(spec, _ map[string]any) {
			spec["selector"].(map[string]any)["matchLabels"].(map[string]any)["x"] = "y"
		},
		"one more rule":      func(spec, rule map[string]any) { spec["rules"] = []any{rule, map[string]any{}} },
		"nothing (the same)": func(_, _ map[string]any) {},
	} {
		t.Run(name, func(t *testing.T) {
			same := strings.HasPrefix(name, "nothing")
			for kind, alone := range exclusive {
				want := same || !alone && name != "one more rule"
				if got := Holds(policy(kind[0], kind[1], change), policy(kind[0], kind[1], func(_, _ map[string]any) {})); got != want {
					t.Errorf("%s holds: %t, want %t", kind[1], got, want)
				}
			}
		})
	}
}

func TestIntentOmitsServerFields(t *testing.T) {
	u := mustIntent(t, service(func(s *corev1.Service) {
		s.ResourceVersion = "7"
		s.UID = "x"
		s.Status.Conditions = []metav1.Condition{{Type: "A"}}
	}))
	for _, path := range [][]string{{"status"}, {"metadata", "creationTimestamp"}, {"metadata", "resourceVersion"}, {"metadata", "uid"}} {
		if v, found, _ := unstructured.NestedFieldNoCopy(u.Object, path...); found {
			t.Errorf("%v is sent: %v", path, v)
		}
	}
	if len(u.GetAnnotations()[v1alpha1.AnnotationAppliedDigest]) != 64 {
		t.Errorf("no digest in %v", u.GetAnnotations())
	}
}

func TestIntentRequiresKind(t *testing.T) {
	if _, err := Intent(service(func(s *corev1.Service) { s.TypeMeta = metav1.TypeMeta{} })); err == nil {
		t.Error("an object without a kind was accepted")
	}
}

func TestHolds(t *testing.T) {
	tests := map[string]struct {
		want func(*corev1.Service)
		live func(u *unstructured.Unstructured)
		hold bool
	}{
		"the same": {hold: true},
		"defaults of the server": {
			live: func(u *unstructured.Unstructured) {
				set(u, "10.0.0.1", "spec", "clusterIP")
				set(u, []any{map[string]any{"name": "http", "port": int64(80), "protocol": "TCP", "targetPort": int64(80)}}, "spec", "ports")
			},
			hold: true,
		},
		"an additional owner": {
			live: func(u *unstructured.Unstructured) {
				set(u, []any{map[string]any{"uid": "u0"}, map[string]any{"apiVersion": "", "kind": "", "name": "web", "uid": "u1"}}, "metadata", "ownerReferences")
			},
			hold: true,
		},
		"the operator's owner reference removed": {
			live: func(u *unstructured.Unstructured) { set(u, []any{}, "metadata", "ownerReferences") },
		},
		"a changed value": {live: func(u *unstructured.Unstructured) { set(u, "db", "spec", "selector", "app") }},
		"a missing field": {live: func(u *unstructured.Unstructured) { unstructured.RemoveNestedField(u.Object, "spec", "selector") }},
		"an added port": {
			live: func(u *unstructured.Unstructured) {
				set(u, []any{map[string]any{"name": "http", "port": int64(80), "targetPort": int64(80)}, map[string]any{"name": "x", "port": int64(81)}}, "spec", "ports")
			},
		},
		"a field that was removed from the configuration": {want: func(s *corev1.Service) { s.Spec.Selector = nil }},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			live := mustIntent(t, service())
			if tc.live != nil {
				tc.live(live)
			}
			want := service()
			if tc.want != nil {
				tc.want(want)
			}
			if got := Holds(live, mustIntent(t, want)); got != tc.hold {
				t.Errorf("Holds = %v, want %v", got, tc.hold)
			}
		})
	}
}

// TestHoldsEmptyMessages: an empty message has a meaning in an object of Istio. Other
// servers do not store an empty object.
func TestHoldsEmptyMessages(t *testing.T) {
	object := func(apiVersion string, route map[string]any) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "spec": map[string]any{"http": []any{route}}}}
	}
	empty := func() map[string]any { return map[string]any{"name": "http", "retries": map[string]any{}} }
	for name, tc := range map[string]struct {
		apiVersion string
		live       map[string]any
		hold       bool
	}{
		"Istio, present": {"networking.istio.io/v1", empty(), true},
		"Istio, removed": {"networking.istio.io/v1", map[string]any{"name": "http"}, false},
		"other, present": {"v1", empty(), true},
		"other, removed": {"v1", map[string]any{"name": "http"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Holds(object(tc.apiVersion, tc.live), object(tc.apiVersion, empty())); got != tc.hold {
				t.Errorf("Holds = %v, want %v", got, tc.hold)
			}
		})
	}
}

func TestListPatchContainsOnlyDifferences(t *testing.T) {
	want := mustIntent(t, service())
	live := want.DeepCopy()
	set(live, []any{}, "metadata", "ownerReferences")
	set(live, []any{map[string]any{"name": "x", "port": int64(81)}}, "spec", "ports")
	ports, _, _ := unstructured.NestedFieldNoCopy(want.Object, "spec", "ports")
	expected := map[string]any{"spec": map[string]any{"ports": ports}}
	if diff := cmp.Diff(expected, listPatch(live.Object, want.Object)); diff != "" {
		t.Error(diff)
	}
	if p := listPatch(want.Object, want.Object); p != nil {
		t.Errorf("unexpected patch: %v", p)
	}
}

func set(u *unstructured.Unstructured, v any, path ...string) {
	if err := unstructured.SetNestedField(u.Object, v, path...); err != nil {
		panic(err)
	}
}
