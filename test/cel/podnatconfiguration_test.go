// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"fmt"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const podNATConfiguration = `
apiVersion: meshvm.io/v1alpha1
kind: PodNATConfiguration
metadata:
  name: web-1a2b3c
spec:
  pod: {name: virt-launcher-web-abcde, uid: 5f0c2f5e-8a1b-4a0e-9a3b-0f6c3a0b1c2d}
  interfaces: {pod: eth0, bridge: k6t-eth0}
  families:
  - {family: IPv4, guest: 10.0.2.2, gateway: 10.0.2.1}
  proxy: {inboundPort: 15006, outboundPort: 15001, localPorts: [15020, 15021]}
  inbound: {mesh: [8080], directTCP: [22], directUDP: [9000]}
  outbound: {excludePorts: [{port: 9999}]}
`

const (
	address           = "must be an IP address"
	loadBalancerClass = "loadBalancerClass of a Service of type LoadBalancer is immutable: set another type first, or create another MeshedVirtualMachine"
	headless          = "service.type cannot be changed to or from Headless because the clusterIP of a Service is immutable: create another MeshedVirtualMachine"
	immutable         = "pod is immutable: create a PodNATConfiguration for each pod"
)

var podNATConfigurationCases = map[string]testCase{
	"the base object":            {},
	"ambient":                    {set: map[string]any{"spec.dataPlane": "Ambient"}},
	"unknown data plane":         {set: map[string]any{"spec.dataPlane": "Waypoint"}, want: []string{"spec.dataPlane: Unsupported value"}},
	"no inbound, no outbound":    {set: map[string]any{"spec.inbound": removed, "spec.outbound": removed}},
	"no pod":                     {set: map[string]any{"spec.pod": removed}, want: []string{"spec.pod: Required value"}},
	"no UID":                     {set: map[string]any{"spec.pod.uid": removed}, want: []string{"spec.pod.uid: Required value"}},
	"empty UID":                  {set: map[string]any{"spec.pod.uid": ""}, want: []string{"spec.pod.uid", "at least 1 chars"}},
	"a pod of another namespace": {set: map[string]any{"spec.pod.namespace": "kube-system"}, want: []string{`unknown field "spec.pod.namespace"`}},
	"no interfaces":              {set: map[string]any{"spec.interfaces": removed}, want: []string{"spec.interfaces: Required value"}},
	"an interface with a quote":  {set: map[string]any{"spec.interfaces.pod": `eth0"`}, want: []string{"spec.interfaces.pod", "should match"}},
	"an interface of 16 letters": {set: map[string]any{"spec.interfaces.bridge": "k6t-0123456789ab"}, want: []string{"spec.interfaces.bridge", "15"}},
	"no families":                {set: map[string]any{"spec.families": []any{}}, want: []string{"spec.families", "at least 1 items"}},
	"both families": {set: map[string]any{"spec.families": []any{
		map[string]any{"family": "IPv4", "guest": "10.0.2.2", "gateway": "10.0.2.1"},
		map[string]any{"family": "IPv6", "guest": "fd10:0:2::2", "gateway": "fd10:0:2::1"},
	}}},
	"unknown family":                     {set: map[string]any{"spec.families": []any{map[string]any{"family": "IPX", "guest": "10.0.2.2", "gateway": "10.0.2.1"}}}, want: []string{"spec.families[0].family: Unsupported value"}},
	"guest is not an address":            {set: map[string]any{"spec.families.0.guest": "10.0.2"}, want: []string{"spec.families[0].guest", address}},
	"gateway is not an address":          {set: map[string]any{"spec.families.0.gateway": "gateway"}, want: []string{"spec.families[0].gateway", address}},
	"no proxy":                           {set: map[string]any{"spec.proxy": removed}, want: []string{"spec.proxy: Required value"}},
	"proxy port 0":                       {set: map[string]any{"spec.proxy.inboundPort": int64(0)}, want: []string{"spec.proxy.inboundPort"}},
	"proxy port 65536":                   {set: map[string]any{"spec.proxy.outboundPort": int64(65536)}, want: []string{"spec.proxy.outboundPort"}},
	"no local ports":                     {set: map[string]any{"spec.proxy.localPorts": []any{}}, want: []string{"spec.proxy.localPorts", "at least 1 items"}},
	"local port 0":                       {set: map[string]any{"spec.proxy.localPorts": []any{int64(0)}}, want: []string{"spec.proxy.localPorts[0]"}},
	"empty inbound":                      {set: map[string]any{"spec.inbound": map[string]any{}}},
	"probed ports":                       {set: map[string]any{"spec.probedPorts": []any{int64(8080), int64(22)}}},
	"probed port twice":                  {set: map[string]any{"spec.probedPorts": []any{int64(8080), int64(8080)}}, want: []string{"spec.probedPorts[1]: Duplicate value"}},
	"probed port 0":                      {set: map[string]any{"spec.probedPorts": []any{int64(0)}}, want: []string{"spec.probedPorts[0]"}},
	"nine probed ports":                  {set: map[string]any{"spec.probedPorts": []any{int64(1), int64(2), int64(3), int64(4), int64(5), int64(6), int64(7), int64(8), int64(9)}}, want: []string{"spec.probedPorts: Too many"}},
	"inbound port 65536":                 {set: map[string]any{"spec.inbound.mesh": []any{int64(65536)}}, want: []string{"spec.inbound.mesh[0]"}},
	"direct port 0":                      {set: map[string]any{"spec.inbound.directTCP": []any{int64(0)}}, want: []string{"spec.inbound.directTCP[0]"}},
	"direct UDP port 0":                  {set: map[string]any{"spec.inbound.directUDP": []any{int64(0)}}, want: []string{"spec.inbound.directUDP[0]"}},
	"excluded network with host bits":    {set: map[string]any{"spec.outbound.excludeCIDRs": []any{"10.96.0.5/16"}}, want: []string{hostBits}},
	"included network with host bits":    {set: map[string]any{"spec.outbound.includeCIDRs": []any{"fd00:96::1/112"}}, want: []string{hostBits}},
	"excluded network is not a CIDR":     {set: map[string]any{"spec.outbound.excludeCIDRs": []any{"10.96.0.0/x"}}, want: []string{cidr}},
	"a gate":                             {set: map[string]any{"spec.gate": map[string]any{"port": int64(15901), "answerPort": int64(15902)}}},
	"a gate without an answer":           {set: map[string]any{"spec.gate": map[string]any{"port": int64(15901)}}, want: []string{"spec.gate.answerPort: Required value"}},
	"a gate at port 0":                   {set: map[string]any{"spec.gate": map[string]any{"port": int64(0), "answerPort": int64(1)}}, want: []string{"spec.gate.port"}},
	"an answer at port 65536":            {set: map[string]any{"spec.gate": map[string]any{"port": int64(1), "answerPort": int64(65536)}}, want: []string{"spec.gate.answerPort"}},
	"a rule's text":                      {set: map[string]any{"spec.rules": "flush ruleset"}, want: []string{`unknown field "spec.rules"`}},
	"a node, which the pod's status has": {set: map[string]any{"spec.node": "node-1"}, want: []string{`unknown field "spec.node"`}},
}

func TestPodNATConfiguration(t *testing.T) { run(t, podNATConfiguration, podNATConfigurationCases) }

// immutableCases change an existing object.
var immutableCases = map[string]testCase{
	"another pod":             {set: map[string]any{"spec.pod.name": "virt-launcher-web-fghij"}, want: []string{immutable}},
	"another pod of its name": {set: map[string]any{"spec.pod.uid": "0d9c4b1e-1111-4a0e-9a3b-0f6c3a0b1c2d"}, want: []string{immutable}},
	"other ports":             {set: map[string]any{"spec.inbound.mesh": []any{int64(8081)}}},
}

func TestImmutable(t *testing.T) {
	env := shared.Get(t)
	base := object(t, podNATConfiguration, map[string]any{"metadata.name": "immutable"})
	if err := env.Client.Create(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	for name, tc := range immutableCases {
		t.Run(name, func(t *testing.T) {
			changed := &unstructured.Unstructured{Object: apply(t, base.DeepCopy().Object, tc.set)}
			check(t, env.Client.Update(t.Context(), changed, client.DryRunAll), tc.want)
		})
	}
}

// serviceTypeCases change the Service of an existing object that does not set
// spec.service.
var serviceTypeCases = map[string]testCase{
	"to Headless": {set: map[string]any{"spec.service": map[string]any{"type": "Headless"}}, want: []string{headless}},
	"to NodePort": {set: map[string]any{"spec.service": map[string]any{"type": "NodePort"}}},
}

func TestServiceType(t *testing.T) {
	env := shared.Get(t)
	base := object(t, meshedVirtualMachine, map[string]any{"metadata.name": "service-type"})
	if err := env.Client.Create(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	for name, tc := range serviceTypeCases {
		t.Run(name, func(t *testing.T) {
			changed := &unstructured.Unstructured{Object: apply(t, base.DeepCopy().Object, tc.set)}
			check(t, env.Client.Update(t.Context(), changed, client.DryRunAll), tc.want)
		})
	}
}

// loadBalancerCases change the Service of an existing object of type LoadBalancer
// with the class example.com/lb.
var loadBalancerCases = map[string]testCase{
	"another class":             {set: map[string]any{"spec.service.loadBalancerClass": "example.com/other"}, want: []string{loadBalancerClass}},
	"no class":                  {set: map[string]any{"spec.service": map[string]any{"type": "LoadBalancer"}}, want: []string{loadBalancerClass}},
	"another type":              {set: map[string]any{"spec.service": map[string]any{"type": "ClusterIP"}}},
	"another type with a class": {set: map[string]any{"spec.service.type": "ClusterIP"}, want: []string{"loadBalancerClass and loadBalancerSourceRanges apply only to type LoadBalancer"}},
}

func TestLoadBalancerClass(t *testing.T) {
	env := shared.Get(t)
	base := object(t, meshedVirtualMachine, map[string]any{
		"metadata.name": "load-balancer",
		"spec.service":  map[string]any{"type": "LoadBalancer", "loadBalancerClass": "example.com/lb"},
	})
	if err := env.Client.Create(t.Context(), base); err != nil {
		t.Fatal(err)
	}
	for name, tc := range loadBalancerCases {
		t.Run(name, func(t *testing.T) {
			changed := &unstructured.Unstructured{Object: apply(t, base.DeepCopy().Object, tc.set)}
			check(t, env.Client.Update(t.Context(), changed, client.DryRunAll), tc.want)
		})
	}
}

// numberedPorts returns n ports with different names and numbers.
func numberedPorts(n int) []any {
	ports := make([]any, n)
	for i := range ports {
		ports[i] = port(fmt.Sprintf("p%d", i), int64(1000+i))
	}
	return ports
}

// networks returns n different networks.
func networks(n int) []any {
	list := make([]any, n)
	for i := range list {
		list[i] = fmt.Sprintf("10.%d.0.0/16", i)
	}
	return list
}
