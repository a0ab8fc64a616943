// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
)

// external returns one external service.
func external(name string, hosts ...string) v1alpha1.EgressSpec {
	return v1alpha1.EgressSpec{Services: []v1alpha1.ExternalService{
		{Name: name, Hosts: hosts, Ports: []v1alpha1.ExternalPort{{Number: 443, Protocol: "TLS"}, {Number: 80, Protocol: "HTTP"}}},
	}}
}

// registryOnly is a guest for which only one external host is open.
func registryOnly() *b.MVMBuilder {
	e := external("pay", "api.pay.example.com")
	e.Outbound = v1alpha1.OutboundModeRegistryOnly
	return b.MVM("web").Egress(e)
}

// externalServices is a guest with each kind of an external service.
func externalServices() *b.MVMBuilder {
	const none = v1alpha1.ServiceResolutionNone
	return b.MVM("web").Egress(v1alpha1.EgressSpec{
		Outbound: v1alpha1.OutboundModeAllowAny, Hosts: []string{"./*.mirror.example.com", "default/kubernetes.default.svc.cluster.local"},
		Services: []v1alpha1.ExternalService{
			{Name: "mirrors", Hosts: []string{"*.mirror.example.com"}, Resolution: none, Ports: []v1alpha1.ExternalPort{{Number: 443, Protocol: "HTTPS"}}},
			{Name: "db", Hosts: []string{"db.example.com"}, Addresses: []string{"192.0.2.10/32", "2001:db8::/64"}, Resolution: none, Ports: []v1alpha1.ExternalPort{{Number: 5432, Protocol: "TCP"}}},
			{Name: "grpc", Hosts: []string{"grpc.example.com", "grpc2.example.com"}, Resolution: v1alpha1.ServiceResolutionDNS, Ports: []v1alpha1.ExternalPort{{Number: 9000, Protocol: "GRPC"}, {Number: 9001, Protocol: "HTTP2"}}},
		},
	})
}
