// SPDX-License-Identifier: Apache-2.0

package cacheindex

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
)

const domain = "cluster.local"

// TestGuests checks that an object is indexed under every MeshedVirtualMachine to
// which it applies: an index that misses one would hide an object that overrides the
// declared policy.
func TestGuests(t *testing.T) {
	hosts := func(hosts ...any) map[string]any { return map[string]any{"hosts": hosts} }
	selector := func(labels map[string]any) map[string]any {
		return map[string]any{"selector": map[string]any{"matchLabels": labels}}
	}
	const label = v1alpha1.LabelMeshedVirtualMachine
	for name, tc := range map[string]struct {
		spec map[string]any
		want []string
	}{
		"full name":                   {hosts("web.shop.svc.cluster.local"), []string{"web"}},
		"short name":                  {hosts("web"), []string{"web"}},
		"several hosts":               {hosts("web.shop.svc.cluster.local", "db", "web"), []string{"db", "web"}},
		"wildcard":                    {hosts("*.shop.svc.cluster.local"), []string{EveryGuest}},
		"every host":                  {hosts("*"), []string{EveryGuest}},
		"wildcard among hosts":        {hosts("web", "*.example.com"), []string{EveryGuest}},
		"host of a DestinationRule":   {map[string]any{"host": "web.shop.svc.cluster.local"}, []string{"web"}},
		"wildcard of DestinationRule": {map[string]any{"host": "*.local"}, []string{EveryGuest}},
		"selector of the operator":    {selector(map[string]any{label: "web"}), []string{"web"}},
		"selector with more labels":   {selector(map[string]any{label: "web", "app": "web"}), []string{"web"}},
		"selector of another label":   {selector(map[string]any{"app": "web"}), []string{EveryGuest}},
		"selector of a Sidecar":       {map[string]any{"workloadSelector": map[string]any{"labels": map[string]any{label: "web"}}}, []string{"web"}},
		"Sidecar for all":             {map[string]any{"workloadSelector": map[string]any{}}, []string{EveryGuest}},
		"no selector":                 {map[string]any{"mtls": map[string]any{"mode": "STRICT"}}, []string{EveryGuest}},
		"no spec":                     {nil, []string{EveryGuest}},
	} {
		t.Run(name, func(t *testing.T) {
			o := &unstructured.Unstructured{Object: map[string]any{}}
			if tc.spec != nil {
				o.Object["spec"] = tc.spec
			}
			if diff := cmp.Diff(tc.want, Guests(o)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestGuestsOfCoveredHosts compares the index with the function that decides whether a
// host is the name of a Service.
func TestGuestsOfCoveredHosts(t *testing.T) {
	for _, host := range []string{"web", "web.shop", "web.shop.svc", "web.shop.svc.cluster.local", "*", "*.local", "*b.shop.svc.cluster.local", "db", "", "."} {
		for _, guest := range []string{"web", "db", "w"} {
			keys := guestsOf([]string{host})
			found := keys[0] == EveryGuest || keys[0] == guest
			if meshpolicy.Covers(host, guest+".shop.svc."+domain) && !found {
				t.Errorf("host %q covers the Service of %s, but is indexed under %q", host, guest, keys)
			}
		}
	}
}
