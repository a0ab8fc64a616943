// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
)

func TestVersions(t *testing.T) {
	all := func(s ...string) []string { return s }
	for name, tc := range map[string]struct {
		in   children.Input
		want children.Versions
	}{
		"no pod":                          {versions("v2"), children.Versions{Subsets: all("v2"), Routed: "v2"}},
		"default":                         {versions(""), children.Versions{Subsets: all("v1"), Routed: "v1"}},
		"the version of the spec":         {versions("v1", "v1"), children.Versions{Subsets: all("v1"), Routed: "v1"}},
		"pending":                         {versions("v2", "v1"), children.Versions{Subsets: all("v1"), Routed: "v1"}},
		"migration while pending":         {versions("v2", "v1", "v1"), children.Versions{Subsets: all("v1"), Routed: "v1"}},
		"old and new pod":                 {versions("v2", "v2", "v1"), children.Versions{Subsets: all("v1", "v2")}},
		"label removed":                   {versions("v1", ""), children.Versions{Subsets: all("v1")}},
		"label of one pod removed":        {versions("v2", "", "v1"), children.Versions{Subsets: all("v1")}},
		"label that cannot name a subset": {versions("v1", "V_1"), children.Versions{Subsets: all("v1")}},
		"label that is not in the spec":   {versions("v1", "canary"), children.Versions{Subsets: all("canary"), Routed: "canary"}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, children.VersionsOf(tc.in.MVM, tc.in.LauncherPods)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestEverySubsetOfRoutesExists checks that routes select only subsets of the
// DestinationRule, and that every pod with a valid version has a subset.
func TestEverySubsetOfRoutesExists(t *testing.T) {
	labels := []string{"", "V_1", "v1", "v2"}
	for _, spec := range labels[2:] {
		for _, first := range append(labels, "none") {
			for _, second := range append(labels, "none") {
				var pods []string
				for _, p := range []string{first, second} {
					if p != "none" {
						pods = append(pods, p)
					}
				}
				in := versions(spec, pods...)
				subsets, routed := istioVersions(t, in)
				for _, r := range routed {
					if r != "" && !strings.Contains(subsets, " "+r+" ") {
						t.Errorf("spec %s, pods %q: a route selects subset %q of %q", spec, pods, r, subsets)
					}
					for _, p := range pods {
						if r != "" && r != p {
							t.Errorf("spec %s, pods %q: a route selects %q, which does not contain a pod", spec, pods, r)
						}
					}
				}
				for _, p := range pods {
					if strings.HasPrefix(p, "v") && !strings.Contains(subsets, " "+p+" ") {
						t.Errorf("spec %s, pods %q: subsets %q", spec, pods, subsets)
					}
				}
			}
		}
	}
}

// istioVersions returns the names of the subsets, separated by spaces, and the subsets of
// all routes.
func istioVersions(t *testing.T, in children.Input) (subsets string, routed []string) {
	t.Helper()
	objects, err := children.Desired(in)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range objects {
		switch o := o.(type) {
		case *networkingv1.DestinationRule:
			subsets = " "
			for _, s := range o.Spec.Subsets {
				subsets += s.Name + " "
			}
		case *networkingv1.VirtualService:
			for _, r := range o.Spec.Http {
				routed = append(routed, r.Route[0].Destination.Subset)
			}
			for _, r := range o.Spec.Tcp {
				routed = append(routed, r.Route[0].Destination.Subset)
			}
		}
	}
	if len(routed) != 2 {
		t.Fatalf("routes %v", routed)
	}
	return subsets, routed
}

// TestFollowVersions changes the pods of a guest whose last accepted spec had another
// version. The result is that of an accepted spec.
func TestFollowVersions(t *testing.T) {
	for name, tc := range map[string]struct {
		before, after children.Input
		want          int
	}{
		"unchanged":       {versions("v1", "v1"), versions("v1", "v1"), 0},
		"restarted":       {versions("v2", "v1"), versions("v2", "v2"), 2},
		"two pods":        {versions("v2", "v1"), versions("v2", "v1", "v2"), 2},
		"one pod remains": {versions("v2", "v1", "v2"), versions("v2", "v2"), 2},
		"label removed":   {versions("v1", "v1"), versions("v1", ""), 1},
		"no pod":          {versions("v2", "v1"), versions("v2"), 0},
		"headless":        {headless("v1"), headless("v2"), 0},
		// Destinations of the spec are unchanged, also with a subset that no pod has.
		"with routes": {declared("v1", "v1"), declared("v1", "v2"), 3},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := istio(t, tc.before), istio(t, tc.after)
			changed := 0
			for kind, live := range before {
				o, err := children.FollowVersions(tc.after, live)
				if err != nil {
					t.Fatal(err)
				}
				if o == nil {
					continue
				}
				changed++
				if diff := cmp.Diff(after[kind].Object, content(t, o).Object); diff != "" {
					t.Errorf("%s (-accepted +followed):\n%s", kind, diff)
				}
			}
			if changed != tc.want {
				t.Errorf("%d objects changed, want %d", changed, tc.want)
			}
		})
	}
}

// declared returns the input for a guest with routes for clients in the mesh and gateways.
func declared(spec, pod string) children.Input {
	in := versions(spec, pod)
	from := b.MVM("web").Hosts("shop.example.com").Gateways("public").
		HTTPRoutes(b.HTTPRoute(`{match: [{uri: {prefix: /slow}}], timeout: 5s}`),
			b.HTTPRoute(`{match: [{uri: {prefix: /first}}], route: [{destination: {subset: v1}}]}`),
			b.HTTPRoute(`{match: [{uri: {prefix: /split}}], route: [{destination: {subset: v1}, weight: 50}, {destination: {subset: v2}, weight: 50}]}`)).
		TCPRoutes(b.TCPRoute(`{match: [{sourceLabels: {role: batch}}], route: [{destination: {subset: v1}}]}`))
	return withRoutes(in, from)
}

func headless(pod string) children.Input {
	in := versions("v1", pod)
	in.MVM.Spec.Service.Type = v1alpha1.ServiceTypeHeadless
	in.MVM.Spec.Ports = []v1alpha1.Port{b.HTTP("http", 8080, 8080)}
	return in
}

// istio returns all desired objects by kind and name.
func istio(t *testing.T, in children.Input) map[string]*unstructured.Unstructured {
	t.Helper()
	objects, err := children.Desired(in)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]*unstructured.Unstructured{}
	for _, o := range objects {
		if kind := o.GetObjectKind().GroupVersionKind(); kind != children.PodNATConfigurationKind {
			out[kind.Kind+"/"+o.GetName()] = content(t, o)
		}
	}
	return out
}

func content(t *testing.T, o children.Object) *unstructured.Unstructured {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{}
	if err := u.UnmarshalJSON(text); err != nil {
		t.Fatal(err)
	}
	return u
}
