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

// TestEgress checks the destinations of mesh.egress. The cluster does not have the default domain.
func TestEgress(t *testing.T) {
	const (
		at      = "InvalidSpec spec.mesh.egress"
		service = at + ".services[0]"
		host    = service + ".hosts[0]"
	)
	type external = v1alpha1.ExternalService
	services := func(s ...external) v1alpha1.EgressSpec { return v1alpha1.EgressSpec{Services: s} }
	// api is an external service with a change.
	api := func(change func(*external)) v1alpha1.EgressSpec {
		s := external{Name: "api", Hosts: []string{"api.example.com"}, Ports: []v1alpha1.ExternalPort{{Number: 443, Protocol: "TLS"}}}
		change(&s)
		return services(s)
	}
	hosts := func(h ...string) v1alpha1.EgressSpec { return api(func(s *external) { s.Hosts = h }) }
	wildcard := func(h string) v1alpha1.EgressSpec {
		return api(func(s *external) { s.Hosts, s.Resolution = []string{h}, v1alpha1.ServiceResolutionNone })
	}
	tcp := func(addresses ...string) v1alpha1.EgressSpec {
		return api(func(s *external) {
			s.Addresses, s.Resolution, s.Ports[0].Protocol = addresses, v1alpha1.ServiceResolutionNone, "TCP"
		})
	}
	for name, tc := range map[string]struct {
		egress v1alpha1.EgressSpec
		want   []string
	}{
		"nothing":                       {v1alpha1.EgressSpec{}, nil},
		"registry only":                 {v1alpha1.EgressSpec{Outbound: v1alpha1.OutboundModeRegistryOnly}, nil},
		"another mode":                  {v1alpha1.EgressSpec{Outbound: "Deny"}, []string{at + ".outbound"}},
		"hosts":                         {v1alpha1.EgressSpec{Hosts: []string{"./*", "*/*", "shop/web.shop.svc.cluster.local", "./*.example.com"}}, nil},
		"host without a namespace":      {v1alpha1.EgressSpec{Hosts: []string{"*"}}, []string{at + ".hosts[0]"}},
		"host with a partial wildcard":  {v1alpha1.EgressSpec{Hosts: []string{"./web*"}}, []string{at + ".hosts[0]"}},
		"host twice":                    {v1alpha1.EgressSpec{Hosts: []string{"./*", "./*"}}, []string{at + ".hosts[1]"}},
		"service":                       {hosts("api.example.com", "svc.example.com"), nil},
		"service without a name":        {api(func(s *external) { s.Name = "" }), []string{service + ".name"}},
		"two services of a name":        {services(hosts("a.example.com").Services[0], hosts("b.example.com").Services[0]), []string{at + ".services[1].name"}},
		"service without hosts":         {hosts(), []string{service + ".hosts"}},
		"host twice in a service":       {hosts("api.example.com", "api.example.com"), []string{service + ".hosts[1]"}},
		"all hosts":                     {wildcard("*"), []string{host}},
		"short name":                    {hosts("web"), []string{host}},
		"address as a host":             {hosts("192.0.2.1"), []string{host}},
		"capital letters":               {hosts("API.example.com"), []string{host}},
		"wildcard":                      {wildcard("*.example.com"), nil},
		"wildcard that is resolved":     {hosts("*.example.com"), []string{host}},
		"service of the cluster":        {hosts("web.shop.svc.cluster.local"), []string{host}},
		"service of the other domain":   {hosts("web.shop.svc.k8s.test.example.org"), []string{host}},
		"service without the domain":    {hosts("web.shop.svc"), []string{host}},
		"service of a set of clusters":  {hosts("web.shop.svc.clusterset.local"), []string{host}},
		"all services of the cluster":   {wildcard("*.cluster.local"), []string{host}},
		"all services of a namespace":   {wildcard("*.shop.svc.cluster.local"), []string{host}},
		"all services without a domain": {wildcard("*.svc"), []string{host}},
		"parent of the domain":          {wildcard("*.local"), []string{host}},
		"parent of the other domain":    {wildcard("*.example.org"), []string{host}},
		"beside the other domain":       {wildcard("*.www.example.org"), nil},
		"name below the other domain":   {hosts("k8s.test.example.org"), []string{host}},
		"TCP":                           {tcp("192.0.2.10/32", "2001:db8::/64"), nil},
		"TCP without addresses":         {tcp(), []string{"InvalidPort spec.mesh.egress.services[0].ports[0].protocol"}},
		"TCP with all addresses":        {tcp("0.0.0.0/0"), []string{"InvalidCIDR spec.mesh.egress.services[0].addresses[0]"}},
		"TCP with an address":           {tcp("192.0.2.10"), []string{"InvalidCIDR spec.mesh.egress.services[0].addresses[0]"}},
		"addresses that are resolved":   {api(func(s *external) { s.Addresses = []string{"192.0.2.10/32"} }), []string{service + ".addresses"}},
		"static resolution":             {api(func(s *external) { s.Resolution = "Static" }), []string{service + ".resolution"}},
		"service without ports":         {api(func(s *external) { s.Ports = nil }), []string{service + ".ports"}},
		"port 0":                        {api(func(s *external) { s.Ports[0].Number = 0 }), []string{"InvalidPort spec.mesh.egress.services[0].ports[0].number"}},
		"port twice":                    {api(func(s *external) { s.Ports = append(s.Ports, s.Ports[0]) }), []string{"InvalidPort spec.mesh.egress.services[0].ports[1].number"}},
		"protocol UDP":                  {api(func(s *external) { s.Ports[0].Protocol = "UDP" }), []string{"InvalidPort spec.mesh.egress.services[0].ports[0].protocol"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.SpecIn(validate.Cluster{Domain: "k8s.test.example.org"}, b.MVM("web").Egress(tc.egress).Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
	got := validatetest.Rejections(validate.Spec(b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient).Egress(v1alpha1.EgressSpec{Hosts: []string{"./*"}}).Obj()))
	if diff := cmp.Diff([]string{at}, got); diff != "" {
		t.Errorf("in ambient mode (-want +got):\n%s", diff)
	}
}
