// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"fmt"
	"strings"
	"testing"
)

const (
	egressAmbient  = "mesh.egress applies only to dataPlane Sidecar, because ztunnel does not limit outbound connections: remove egress, or set dataPlane to Sidecar"
	egressWildcard = "a wildcard host has no address that the proxy can resolve: list the hosts, or set resolution to None"
	egressTCP      = "a TCP connection contains no host name, so that the service would receive every connection to the port from the namespace: set addresses, or use protocol TLS or HTTP"
	egressResolved = "addresses are the destinations to which the guest connects: set resolution to None, or remove addresses"
	egressCluster  = "hosts of mesh.egress.services must not be names of the cluster, so that an external service cannot replace a service of the cluster: use the name of an external host"
	egressCIDR     = "addresses must be networks in CIDR notation with a prefix length above 0, for example 192.0.2.10/32"
)

// external is a list with an external service with changes.
func external(changes map[string]any) map[string]any {
	service := map[string]any{"name": "api", "hosts": []any{"api.example.com"}, "ports": []any{map[string]any{"number": int64(443), "protocol": "TLS"}}}
	return map[string]any{"spec.mesh.egress.services": []any{changed(service, changes)}}
}

func externalHost(host string) map[string]any {
	return external(map[string]any{"hosts": []any{host}, "resolution": "None"})
}

func externalPort(port map[string]any) map[string]any {
	return external(map[string]any{"ports": []any{port}})
}

func externalTCP(addresses ...any) map[string]any {
	return external(map[string]any{"ports": []any{map[string]any{"number": int64(5432), "protocol": "TCP"}}, "resolution": "None", "addresses": append([]any{}, addresses...)})
}

func numberedServices(n int) map[string]any {
	var all []any
	for i := range n {
		all = append(all, external(map[string]any{"name": fmt.Sprintf("s-%d", i)})["spec.mesh.egress.services"].([]any)...)
	}
	return map[string]any{"spec.mesh.egress.services": all}
}

// items returns a list of n numbered strings.
func items(n int, format string) []any {
	var all []any
	for i := range n {
		all = append(all, fmt.Sprintf(format, i))
	}
	return all
}

func externalPorts(n int) []any {
	var all []any
	for i := range n {
		all = append(all, map[string]any{"number": int64(i + 1), "protocol": "TLS"})
	}
	return all
}

// egressCases are changes of meshedVirtualMachine in mesh.egress.
var egressCases = map[string]testCase{
	"registry only":                  {set: map[string]any{"spec.mesh.egress": map[string]any{"outbound": "RegistryOnly"}}},
	"any":                            {set: map[string]any{"spec.mesh.egress": map[string]any{"outbound": "AllowAny"}}},
	"nothing":                        {set: map[string]any{"spec.mesh.egress": map[string]any{}}},
	"another mode":                   {set: map[string]any{"spec.mesh.egress": map[string]any{"outbound": "REGISTRY_ONLY"}}, want: []string{"spec.mesh.egress.outbound: Unsupported value"}},
	"in ambient mode":                {set: map[string]any{"spec.mesh.dataPlane": "Ambient", "spec.mesh.egress.outbound": "RegistryOnly"}, want: []string{egressAmbient}},
	"a field of Istio":               {set: map[string]any{"spec.mesh.egress.exportTo": []any{"*"}}, want: []string{`unknown field "spec.mesh.egress.exportTo"`}},
	"hosts":                          {set: map[string]any{"spec.mesh.egress.hosts": []any{"./*", "*/*", "shop/web.shop.svc.cluster.local", "./*.example.com"}}},
	"no hosts":                       {set: map[string]any{"spec.mesh.egress.hosts": []any{}}, want: []string{"spec.mesh.egress.hosts", "at least 1 items"}},
	"65 hosts":                       {set: map[string]any{"spec.mesh.egress.hosts": items(65, "ns-%d/*")}, want: []string{"spec.mesh.egress.hosts: Too many"}},
	"host twice":                     {set: map[string]any{"spec.mesh.egress.hosts": []any{"./*", "./*"}}, want: []string{"Duplicate value"}},
	"host without a namespace":       {set: map[string]any{"spec.mesh.egress.hosts": []any{"web.shop"}}, want: []string{"spec.mesh.egress.hosts[0]", "should match"}},
	"short host":                     {set: map[string]any{"spec.mesh.egress.hosts": []any{"./"}}, want: []string{"spec.mesh.egress.hosts[0]", "at least 3 chars"}},
	"long host":                      {set: map[string]any{"spec.mesh.egress.hosts": []any{"./" + strings.Repeat("a", 316)}}, want: []string{"spec.mesh.egress.hosts[0]: Too long"}},
	"service":                        {set: external(nil)},
	"32 services":                    {set: numberedServices(32)},
	"33 services":                    {set: numberedServices(33), want: []string{"spec.mesh.egress.services: Too many"}},
	"no services":                    {set: map[string]any{"spec.mesh.egress.services": []any{}}, want: []string{"spec.mesh.egress.services", "at least 1 items"}},
	"two services of a name":         {set: map[string]any{"spec.mesh.egress.services": append(external(nil)["spec.mesh.egress.services"].([]any), external(nil)["spec.mesh.egress.services"].([]any)...)}, want: []string{"Duplicate value"}},
	"service without a name":         {set: external(map[string]any{"name": removed}), want: []string{"spec.mesh.egress.services[0].name: Required value"}},
	"service with an empty name":     {set: external(map[string]any{"name": ""}), want: []string{"spec.mesh.egress.services[0].name", "at least 1 chars"}},
	"service with a long name":       {set: external(map[string]any{"name": strings.Repeat("a", 64)}), want: []string{"spec.mesh.egress.services[0].name: Too long"}},
	"service with a dot":             {set: external(map[string]any{"name": "a.b"}), want: []string{"spec.mesh.egress.services[0].name", "should match"}},
	"service for other namespaces":   {set: external(map[string]any{"exportTo": []any{"*"}}), want: []string{`unknown field "spec.mesh.egress.services[0].exportTo"`}},
	"service without hosts":          {set: external(map[string]any{"hosts": removed}), want: []string{"spec.mesh.egress.services[0].hosts: Required value"}},
	"service with empty hosts":       {set: external(map[string]any{"hosts": []any{}}), want: []string{"spec.mesh.egress.services[0].hosts", "at least 1 items"}},
	"service with 17 hosts":          {set: external(map[string]any{"hosts": items(17, "a%d.example.com")}), want: []string{"spec.mesh.egress.services[0].hosts: Too many"}},
	"service with a host twice":      {set: external(map[string]any{"hosts": []any{"a.example.com", "a.example.com"}}), want: []string{"Duplicate value"}},
	"host that begins with svc":      {set: externalHost("svc.example.com")},
	"wildcard":                       {set: externalHost("*.example.com")},
	"wildcard that is resolved":      {set: external(map[string]any{"hosts": []any{"*.example.com"}}), want: []string{egressWildcard}},
	"all hosts":                      {set: externalHost("*"), want: []string{"spec.mesh.egress.services[0].hosts[0]", "at least 3 chars"}},
	"host with a long name":          {set: externalHost(strings.Repeat("a.", 126) + "aa"), want: []string{"spec.mesh.egress.services[0].hosts[0]: Too long"}},
	"short name":                     {set: externalHost("web"), want: []string{"spec.mesh.egress.services[0].hosts[0]", "should match"}},
	"address as a host":              {set: externalHost("192.0.2.1"), want: []string{"spec.mesh.egress.services[0].hosts[0]", "should match"}},
	"service of the cluster":         {set: externalHost("web.shop.svc.cluster.local"), want: []string{egressCluster}},
	"service without the domain":     {set: externalHost("web.shop.svc"), want: []string{egressCluster}},
	"service of a set of clusters":   {set: externalHost("web.shop.svc.clusterset.local"), want: []string{egressCluster}},
	"all services of the cluster":    {set: externalHost("*.cluster.local"), want: []string{egressCluster}},
	"all services of a namespace":    {set: externalHost("*.shop.svc.cluster.local"), want: []string{egressCluster}},
	"all services without a domain":  {set: externalHost("*.svc"), want: []string{egressCluster}},
	"parent of the cluster's domain": {set: externalHost("*.local"), want: []string{egressCluster}},
	"TCP":                            {set: externalTCP("192.0.2.10/32", "2001:db8::/64")},
	"TCP without addresses":          {set: externalPort(map[string]any{"number": int64(5432), "protocol": "TCP"}), want: []string{egressTCP}},
	"TCP with no addresses":          {set: externalTCP(), want: []string{"spec.mesh.egress.services[0].addresses", "at least 1 items"}},
	"TCP with all addresses":         {set: externalTCP("0.0.0.0/0"), want: []string{egressCIDR}},
	"TCP with an address":            {set: externalTCP("192.0.2.10"), want: []string{egressCIDR}},
	"TCP with a short address":       {set: externalTCP("::1"), want: []string{"spec.mesh.egress.services[0].addresses[0]", "at least 4 chars"}},
	"TCP with a long address":        {set: externalTCP(strings.Repeat("1", 44)), want: []string{"spec.mesh.egress.services[0].addresses[0]: Too long"}},
	"TCP with 17 addresses":          {set: externalTCP(items(17, "192.0.2.%d/32")...), want: []string{"spec.mesh.egress.services[0].addresses: Too many"}},
	"TCP with an address twice":      {set: externalTCP("192.0.2.1/32", "192.0.2.1/32"), want: []string{"Duplicate value"}},
	"addresses that are resolved":    {set: external(map[string]any{"addresses": []any{"192.0.2.10/32"}}), want: []string{egressResolved}},
	"static resolution":              {set: external(map[string]any{"resolution": "Static"}), want: []string{"spec.mesh.egress.services[0].resolution: Unsupported value"}},
	"service without ports":          {set: external(map[string]any{"ports": removed}), want: []string{"spec.mesh.egress.services[0].ports: Required value"}},
	"service with empty ports":       {set: external(map[string]any{"ports": []any{}}), want: []string{"spec.mesh.egress.services[0].ports", "at least 1 items"}},
	"service with 17 ports":          {set: external(map[string]any{"ports": externalPorts(17)}), want: []string{"spec.mesh.egress.services[0].ports: Too many"}},
	"service with a port twice":      {set: external(map[string]any{"ports": append(externalPorts(1), externalPorts(1)...)}), want: []string{"Duplicate value"}},
	"port without a number":          {set: externalPort(map[string]any{"protocol": "TLS"}), want: []string{"spec.mesh.egress.services[0].ports[0].number: Required value"}},
	"port 0":                         {set: externalPort(map[string]any{"number": int64(0), "protocol": "TLS"}), want: []string{"spec.mesh.egress.services[0].ports[0].number", "greater than or equal to 1"}},
	"port 65536":                     {set: externalPort(map[string]any{"number": int64(65536), "protocol": "TLS"}), want: []string{"spec.mesh.egress.services[0].ports[0].number", "less than or equal to 65535"}},
	"port without a protocol":        {set: externalPort(map[string]any{"number": int64(443)}), want: []string{"spec.mesh.egress.services[0].ports[0].protocol: Required value"}},
	"port with UDP":                  {set: externalPort(map[string]any{"number": int64(443), "protocol": "UDP"}), want: []string{"spec.mesh.egress.services[0].ports[0].protocol: Unsupported value"}},
}

func TestEgress(t *testing.T) { run(t, meshedVirtualMachine, egressCases) }
