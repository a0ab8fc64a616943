// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

// TestAllow checks the clients and ports of mesh.allow.
func TestAllow(t *testing.T) {
	const path = "InvalidSpec spec.mesh.allow[0]"
	guest := func(a v1alpha1.AllowedClient) *b.MVMBuilder {
		return b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.TCP("db", 5432), b.Direct("ssh", 22), b.UDP("dns", 53)).Allow(a)
	}
	ports := func(names ...string) v1alpha1.AllowedClient {
		return v1alpha1.AllowedClient{Namespace: "frontend", Ports: names}
	}
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want []string
	}{
		"service account":                      {guest(v1alpha1.AllowedClient{ServiceAccount: "frontend/web", Ports: []string{"http", "db"}}), nil},
		"service account of the namespace":     {guest(v1alpha1.AllowedClient{ServiceAccount: "web.v1"}), nil},
		"namespace":                            {guest(ports()), nil},
		"ambient":                              {guest(ports("db")).DataPlane(v1alpha1.DataPlaneAmbient), nil},
		"nobody":                               {guest(v1alpha1.AllowedClient{Ports: []string{"http"}}), []string{path}},
		"both":                                 {guest(v1alpha1.AllowedClient{ServiceAccount: "web", Namespace: "frontend"}), []string{path}},
		"two slashes":                          {guest(v1alpha1.AllowedClient{ServiceAccount: "td/frontend/web"}), []string{path + ".serviceAccount"}},
		"wildcard service account":             {guest(v1alpha1.AllowedClient{ServiceAccount: "frontend/*"}), []string{path + ".serviceAccount"}},
		"wildcard namespace":                   {guest(v1alpha1.AllowedClient{Namespace: "*"}), []string{path + ".namespace"}},
		"prefix of namespaces":                 {guest(v1alpha1.AllowedClient{Namespace: "front*"}), []string{path + ".namespace"}},
		"unknown port":                         {guest(ports("http", "https")), []string{"InvalidPort spec.mesh.allow[0].ports[1]"}},
		"number of a port":                     {guest(ports("8080")), []string{"InvalidPort spec.mesh.allow[0].ports[0]"}},
		"Direct port":                          {guest(ports("ssh")), []string{"InvalidPort spec.mesh.allow[0].ports[0]"}},
		"UDP port":                             {guest(ports("dns")), []string{"InvalidPort spec.mesh.allow[0].ports[0]"}},
		"port without mutual TLS":              {guest(ports("http", "db")).PortMTLS("db", v1alpha1.MTLSModeDisable), []string{"InvalidPort spec.mesh.allow[0].ports[1]"}},
		"all ports, one without mutual TLS":    {guest(ports()).PortMTLS("db", v1alpha1.MTLSModeDisable), []string{path + ".ports"}},
		"other ports, one without mutual TLS":  {guest(ports("http")).PortMTLS("db", v1alpha1.MTLSModeDisable), nil},
		"port with mutual TLS mode Permissive": {guest(ports()).MTLS(v1alpha1.MTLSModePermissive), nil},
		"guest without ports":                  {b.MVM("web").NoPorts().Allow(ports()), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(tc.mvm.Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}

// TestPoliciesInTheRootNamespace rejects policies whose selectors would apply to the
// pods of all namespaces.
func TestPoliciesInTheRootNamespace(t *testing.T) {
	mvm := b.MVM("web").Namespace("istio-system").Allow(v1alpha1.AllowedClient{Namespace: "frontend"}).Obj()
	for root, want := range map[string][]string{
		"istio-system": {"InvalidSpec spec.mesh.allow"},
		"mesh":         nil,
		"":             nil,
	} {
		got := validatetest.Rejections(validate.SpecIn(validate.Cluster{RootNamespace: root}, mvm))
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("root namespace %q (-want +got):\n%s", root, diff)
		}
	}
	if err := validate.SpecIn(validate.Cluster{RootNamespace: "istio-system"}, b.MVM("web").Namespace("istio-system").Obj()); err != nil {
		t.Errorf("a guest without such policies is rejected: %v", err)
	}
}
