// SPDX-License-Identifier: Apache-2.0

package meshpolicy_test

import (
	"strings"
	"testing"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"

	"meshvm.io/meshvm/internal/meshpolicy"
)

// server returns a server of a Gateway. The mode is empty for a server without TLS.
func server(proto, mode string, hosts ...string) *networkingv1alpha3.Server {
	s := &networkingv1alpha3.Server{Port: &networkingv1alpha3.Port{Number: 80, Protocol: proto}, Hosts: hosts}
	if mode != "" {
		s.Tls = &networkingv1alpha3.ServerTLSSettings{Mode: networkingv1alpha3.ServerTLSSettings_TLSmode(networkingv1alpha3.ServerTLSSettings_TLSmode_value[mode])}
	}
	return s
}

// TestHostsAtGateway: the Gateway is in namespace ingress, the VirtualService in shop.
func TestHostsAtGateway(t *testing.T) {
	type servers = []*networkingv1alpha3.Server
	const a, b, wildcard = "a.example.com", "b.example.com", "*.example.com"
	for name, tc := range map[string]struct {
		servers servers
		hosts   string
		tls     bool
		want    string
	}{
		"no server":                        {nil, a, false, ""},
		"the host":                         {servers{server("HTTP", "", a)}, a, false, a},
		"another host":                     {servers{server("HTTP", "", b)}, a, false, ""},
		"one of two hosts":                 {servers{server("HTTP", "", b)}, a + " " + b, false, b},
		"hosts of two servers":             {servers{server("HTTP", "", b), server("HTTPS", "SIMPLE", a)}, a + " " + b, false, a + " " + b},
		"a wildcard of the server":         {servers{server("HTTP", "", wildcard)}, a, false, a},
		"every host":                       {servers{server("HTTP", "", "*")}, a, false, a},
		"a wildcard of the VirtualService": {servers{server("HTTP", "", a)}, wildcard, false, wildcard},
		"the parent of a wildcard":         {servers{server("HTTP", "", wildcard)}, "example.com", false, ""},
		"two wildcards":                    {servers{server("HTTP", "", "*.com")}, wildcard, false, wildcard},
		"the namespace":                    {servers{server("HTTP", "", "shop/"+wildcard)}, a, false, a},
		"another namespace":                {servers{server("HTTP", "", "bank/"+wildcard)}, a, false, ""},
		"all namespaces":                   {servers{server("HTTP", "", "*/*")}, a, false, a},
		"the namespace of the Gateway":     {servers{server("HTTP", "", "./"+a)}, a, false, ""},
		"a later host of a server":         {servers{server("HTTP", "", "bank/"+a, "shop/"+a)}, a, false, a},
		"gRPC":                             {servers{server("GRPC", "", a)}, a, false, a},
		"a redirect to HTTPS":              {servers{server("HTTP", "PASSTHROUGH", a)}, a, false, a},
		"HTTPS passed through":             {servers{server("HTTPS", "PASSTHROUGH", a)}, a, false, ""},
		"HTTPS passed through to TLS":      {servers{server("HTTPS", "PASSTHROUGH", a)}, a, true, a},
		"TLS passed through":               {servers{server("TLS", "PASSTHROUGH", a)}, a, true, a},
		"TLS that the gateway terminates":  {servers{server("TLS", "SIMPLE", a)}, a, true, ""},
		"TLS passed through to any":        {servers{server("TLS", "AUTO_PASSTHROUGH", a)}, a, true, ""},
		"TLS without settings":             {servers{server("TLS", "", a)}, a, true, ""},
		"HTTP for TLS routes":              {servers{server("HTTP", "", a)}, a, true, ""},
		"TCP":                              {servers{server("TCP", "", "*")}, a, false, ""},
		"no port":                          {servers{{Hosts: []string{a}}}, a, false, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g := &networkingv1.Gateway{ObjectMeta: metaOf("ingress", "public", 1)}
			g.Spec.Servers = tc.servers
			p := meshpolicy.Published{Namespace: "shop", Hosts: strings.Fields(tc.hosts), HTTP: !tc.tls, TLS: tc.tls}
			if got := strings.Join(p.At(g), " "); got != tc.want {
				t.Errorf("hosts %q, want %q", got, tc.want)
			}
		})
	}
	own := &networkingv1.Gateway{ObjectMeta: metaOf("shop", "public", 1)}
	own.Spec.Servers = servers{server("HTTP", "", "./"+a)}
	if got := (meshpolicy.Published{Namespace: "shop", Hosts: []string{a}, HTTP: true}).At(own); len(got) != 1 {
		t.Errorf("the Gateway of the namespace does not permit the host: %q", got)
	}
}
