// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/validate"
)

const meshedVirtualMachine = `
apiVersion: meshvm.io/v1alpha1
kind: MeshedVirtualMachine
metadata:
  name: web
spec:
  virtualMachine:
    runStrategy: Always
    template:
      spec:
        domain:
          devices: {}
  ports:
  - {name: http, port: 80, targetPort: 8080, appProtocol: http}
  - {name: ssh, port: 22, via: Direct}
`

// reservedPorts is the part of two messages that lists the reserved ports.
var reservedPorts = portList(validate.ProxyLocalPorts) + " are used by the mesh proxy, " + portList(validate.GatePorts) +
	" by the start gate, " + portList(validate.MigrationPorts) + " by KubeVirt live migration"

// portList returns ports in ascending order, for example "1, 2 and 3".
func portList(ports []int32) string {
	texts := strings.Fields(strings.Trim(fmt.Sprint(slices.Sorted(slices.Values(ports))), "[]"))
	last := len(texts) - 1
	return strings.Join(texts[:last], ", ") + " and " + texts[last]
}

var reserved = "targetPort (defaults to port) is reserved: " + reservedPorts + "; use another port in the guest"

const (
	sharedTarget = "ports with the same targetPort and protocol must have the same via and appProtocol, because the proxy distinguishes connections by targetPort"
	mtlsViaMesh  = "mtls applies only to ports via Mesh: omit mtls, or set via to Mesh"
	onlyTCP      = "mtls, timeout and retries apply only to TCP: omit them for UDP"
	duration     = "must be a positive duration with units, for example 5s or 1m30s"
	onlyHTTP     = "timeout and retries apply only to HTTP ports via Mesh: omit them, or set appProtocol to an HTTP protocol and via to Mesh"
	perTry       = "must be a duration of at least 1ms with a unit, for example 2s"
	attempts     = "retries without attempts, or with attempts 0, turns retries off: set attempts to a positive number, or remove the other fields of retries"
	strategy     = "virtualMachine must not set both runStrategy and running: remove running, which KubeVirt has deprecated"
	hostBits     = "must not have host bits set: use the network address, for example 10.96.0.0/16 instead of 10.96.0.5/16, or prefix length 32 (IPv6: 128) for a single host"
	cidr         = "must be a network in CIDR notation, for example 10.96.0.0/16 or fd00:96::/112"
)

var meshedVirtualMachineCases = map[string]testCase{
	"the base object": {},

	// Names.
	"name of 47 characters": {set: map[string]any{"metadata.name": strings.Repeat("a", 47)}},
	"name of 48 characters": {
		set:  map[string]any{"metadata.name": strings.Repeat("a", 48)},
		want: []string{"metadata.name must be at most 47 characters: KubeVirt cannot live-migrate a virtual machine with a longer name"},
	},
	"name with a dot": {
		set:  map[string]any{"metadata.name": "web.one"},
		want: []string{"metadata.name must be a DNS label that starts with a letter, because it also names the Service"},
	},
	"name that starts with a digit": {
		set:  map[string]any{"metadata.name": "1web"},
		want: []string{"metadata.name must be a DNS label that starts with a letter"},
	},
	"version is not a label":     {set: map[string]any{"spec.version": "v_1"}, want: []string{"spec.version", "should match"}},
	"version is empty":           {set: map[string]any{"spec.version": ""}, want: []string{"spec.version", "at least 1 chars"}},
	"version is longer than 63":  {set: map[string]any{"spec.version": strings.Repeat("v", 64)}, want: []string{"spec.version", "63"}},
	"unknown field":              {set: map[string]any{"spec.prots": []any{}}, want: []string{`unknown field "spec.prots"`}},
	"no spec":                    {set: map[string]any{"spec": removed}, want: []string{"spec: Required value"}},
	"no virtual machine":         {set: map[string]any{"spec.virtualMachine": removed}, want: []string{oneMachine}},
	"unknown type of Service":    {set: map[string]any{"spec.service.type": "External"}, want: []string{"spec.service.type: Unsupported value"}},
	"Service of both families":   {set: map[string]any{"spec.service.ipFamilyPolicy": "PreferDualStack"}},
	"unknown family policy":      {set: map[string]any{"spec.service.ipFamilyPolicy": "DualStack"}, want: []string{"spec.service.ipFamilyPolicy: Unsupported value"}},
	"empty sections":             {set: emptyObjects("virtualMachineMetadata", "service", "mesh", "capture")},
	"empty sections in sections": {set: emptyObjects("virtualMachineMetadata.labels", "virtualMachineMetadata.annotations", "service.labels", "service.annotations", "mesh.mtls", "mesh.routes", "mesh.egress", "capture.inbound", "capture.outbound")},

	// Ports.
	"no ports":    {set: map[string]any{"spec.ports": removed}},
	"empty ports": {set: map[string]any{"spec.ports": []any{}}},
	"no ports, and a range over a reserved port": {
		set:  map[string]any{"spec.ports": removed, "spec.capture.inbound.excludePorts": []any{portRange("", 15000, 0)}},
		want: []string{"a range contains a reserved TCP port"},
	},
	"no ports, and inbound ranges": {set: map[string]any{"spec.ports": removed, "spec.capture.inbound.excludePorts": []any{portRange("", 22, 0)}}},
	"name of 63 characters":        {set: map[string]any{"spec.ports.2": port(strings.Repeat("a", 63), 81)}},
	"name of 64 characters": {
		set:  map[string]any{"spec.ports.2": port(strings.Repeat("a", 64), 81)},
		want: []string{"spec.ports[2].name", "63"},
	},
	"65 ports": {
		set:  map[string]any{"spec.ports": numberedPorts(65)},
		want: []string{"spec.ports: Too many: 65: must have at most 64 items"},
	},
	"64 ports": {set: map[string]any{"spec.ports": numberedPorts(64)}},
	"two ports of one name": {
		set:  map[string]any{"spec.ports.2": port("http", 81)},
		want: []string{`spec.ports[2]: Duplicate value: {"name":"http"}`},
	},
	"two ports of one number": {
		set:  map[string]any{"spec.ports.2": map[string]any{"name": "other", "port": int64(80), "targetPort": int64(81)}},
		want: []string{"port must be unique per protocol"},
	},
	"two ports of one targetPort": {
		set: map[string]any{"spec.ports.2": map[string]any{"name": "other", "port": int64(81), "targetPort": int64(8080), "appProtocol": "http"}},
	},
	"a targetPort that is another's port": {
		set: map[string]any{"spec.ports.2": map[string]any{"name": "other", "port": int64(8080), "appProtocol": "http"}},
	},
	"two protocols of one targetPort": {
		set:  map[string]any{"spec.ports.2": map[string]any{"name": "other", "port": int64(8080), "appProtocol": "tcp"}},
		want: []string{sharedTarget},
	},
	"one targetPort via Mesh and Direct": {
		set:  map[string]any{"spec.ports.2": map[string]any{"name": "other", "port": int64(2222), "targetPort": int64(22), "via": "Mesh"}},
		want: []string{sharedTarget},
	},
	"one targetPort for TCP and UDP": {set: map[string]any{"spec.ports.2": map[string]any{"name": "other", "port": int64(8080), "protocol": "UDP"}}},
	"websocket":                      {set: map[string]any{"spec.ports.0.appProtocol": "kubernetes.io/ws"}},
	"websocket over TLS":             {set: map[string]any{"spec.ports.0.appProtocol": "kubernetes.io/wss"}},

	// Service.
	"headless Service with another targetPort": {
		set:  map[string]any{"spec.service.type": "Headless"},
		want: []string{"a headless Service does not translate ports, so clients connect to targetPort: set port to the number of targetPort, or set another service.type"},
	},
	"headless Service with the same targetPort": {set: map[string]any{"spec.service.type": "Headless", "spec.ports.0.targetPort": int64(80)}},
	"node port": {set: map[string]any{"spec.service.type": "NodePort", "spec.ports.1.nodePort": int64(30022)}},
	"node port without one": {
		set:  map[string]any{"spec.ports.1.nodePort": int64(30022)},
		want: []string{"ports[].nodePort applies only to service.type NodePort or LoadBalancer: omit nodePort, or set service.type"},
	},
	"node port 65536": {
		set:  map[string]any{"spec.service.type": "NodePort", "spec.ports.1.nodePort": int64(65536)},
		want: []string{"spec.ports[1].nodePort", "65535"},
	},
	"settings of a load balancer": {set: map[string]any{"spec.service": map[string]any{
		"type": "LoadBalancer", "loadBalancerClass": "example.com/lb", "loadBalancerSourceRanges": []any{"192.0.2.0/24"},
		"externalTrafficPolicy": "Local", "internalTrafficPolicy": "Local", "sessionAffinity": "ClientIP", "publishNotReadyAddresses": true,
		"labels": map[string]any{"team": "a"}, "annotations": map[string]any{"example.com/dns": "web"},
	}}},
	"class without a load balancer": {
		set:  map[string]any{"spec.service.loadBalancerClass": "example.com/lb"},
		want: []string{"loadBalancerClass and loadBalancerSourceRanges apply only to type LoadBalancer: omit them, or set type"},
	},
	"source ranges without a load balancer": {
		set:  map[string]any{"spec.service.loadBalancerSourceRanges": []any{"192.0.2.0/24"}, "spec.service.type": "NodePort"},
		want: []string{"loadBalancerClass and loadBalancerSourceRanges apply only to type LoadBalancer"},
	},
	"source range that is not a network": {
		set:  map[string]any{"spec.service.loadBalancerSourceRanges": []any{"192.0.2.0"}, "spec.service.type": "LoadBalancer"},
		want: []string{cidr},
	},
	"external policy without external traffic": {
		set:  map[string]any{"spec.service.externalTrafficPolicy": "Local"},
		want: []string{"externalTrafficPolicy applies only to type NodePort or LoadBalancer: omit it, or set type"},
	},
	"unknown external policy": {
		set:  map[string]any{"spec.service.externalTrafficPolicy": "Node", "spec.service.type": "NodePort"},
		want: []string{"spec.service.externalTrafficPolicy: Unsupported value"},
	},
	"unknown internal policy": {set: map[string]any{"spec.service.internalTrafficPolicy": "Node"}, want: []string{"spec.service.internalTrafficPolicy: Unsupported value"}},
	"unknown affinity":        {set: map[string]any{"spec.service.sessionAffinity": "Cookie"}, want: []string{"spec.service.sessionAffinity: Unsupported value"}},

	// Metadata of the VirtualMachine.
	"metadata": {set: map[string]any{"spec.virtualMachineMetadata": map[string]any{
		"labels": map[string]any{"team": "a"}, "annotations": map[string]any{"backup.example.com/keep": "7d"},
	}}},
	"name in metadata": {set: map[string]any{"spec.virtualMachineMetadata.name": "web"}, want: []string{`unknown field "spec.virtualMachineMetadata.name"`}},

	// Run strategy.
	"neither strategy": {set: map[string]any{"spec.virtualMachine.runStrategy": removed}},
	"both strategies":  {set: map[string]any{"spec.virtualMachine.running": true}, want: []string{strategy}},
	"running":          {set: map[string]any{"spec.virtualMachine.runStrategy": removed, "spec.virtualMachine.running": false}},
	"one number for TCP and UDP": {
		set: map[string]any{"spec.ports.2": map[string]any{"name": "quic", "port": int64(80), "targetPort": int64(8080), "protocol": "UDP"}},
	},
	"explicit and implied via of UDP are the same": {set: map[string]any{
		"spec.ports.1": map[string]any{"name": "dns", "port": int64(53), "protocol": "UDP"},
		"spec.ports.2": map[string]any{"name": "dns-alt", "port": int64(5353), "targetPort": int64(53), "protocol": "UDP", "via": "Direct"},
	}},
	"explicit and implied TCP are the same": {
		set:  map[string]any{"spec.ports.2": map[string]any{"name": "other", "port": int64(22), "targetPort": int64(2222), "protocol": "TCP"}},
		want: []string{"port must be unique per protocol"},
	},
	"port without a name":        {set: map[string]any{"spec.ports.0.name": removed}, want: []string{"spec.ports[0].name: Required value"}},
	"port without a number":      {set: map[string]any{"spec.ports.0.port": removed}, want: []string{"spec.ports[0].port: Required value"}},
	"name of a port in capitals": {set: map[string]any{"spec.ports.0.name": "HTTP"}, want: []string{"spec.ports[0].name", "should match"}},
	"port 0":                     {set: map[string]any{"spec.ports.0.port": int64(0)}, want: []string{"spec.ports[0].port", "greater than or equal to 1"}},
	"port 65536":                 {set: map[string]any{"spec.ports.0.port": int64(65536)}, want: []string{"spec.ports[0].port", "less than or equal to 65535"}},
	"targetPort 0":               {set: map[string]any{"spec.ports.0.targetPort": int64(0)}, want: []string{"spec.ports[0].targetPort", "greater than or equal to 1"}},
	"targetPort 65536":           {set: map[string]any{"spec.ports.0.targetPort": int64(65536)}, want: []string{"spec.ports[0].targetPort", "less than or equal to 65535"}},
	"SCTP":                       {set: map[string]any{"spec.ports.0.protocol": "SCTP"}, want: []string{"spec.ports[0].protocol: Unsupported value"}},
	"unknown via":                {set: map[string]any{"spec.ports.0.via": "Bypass"}, want: []string{"spec.ports[0].via: Unsupported value"}},
	"unknown appProtocol":        {set: map[string]any{"spec.ports.0.appProtocol": "htpp"}, want: []string{"spec.ports[0].appProtocol: Unsupported value"}},
	"UDP without via":            {set: map[string]any{"spec.ports.2": udp(map[string]any{})}},
	"UDP via Direct":             {set: map[string]any{"spec.ports.2": udp(map[string]any{"via": "Direct"})}},
	"UDP via Mesh": {
		set:  map[string]any{"spec.ports.2": udp(map[string]any{"via": "Mesh"})},
		want: []string{"the mesh does not carry UDP: omit via or set it to Direct"},
	},
	"UDP with an appProtocol": {
		set:  map[string]any{"spec.ports.2": udp(map[string]any{"appProtocol": "http"})},
		want: []string{"appProtocol applies only to TCP: omit it for UDP"},
	},
	"reserved targetPort": {set: map[string]any{"spec.ports.0.targetPort": int64(15006)}, want: []string{"spec.ports[0]", reserved}},
	"reserved port without a targetPort": {
		set:  map[string]any{"spec.ports.0.port": int64(15021), "spec.ports.0.targetPort": removed},
		want: []string{reserved},
	},
	"reserved port with another targetPort": {set: map[string]any{"spec.ports.0.port": int64(15021)}},
	"reserved number for UDP": {
		set: map[string]any{"spec.ports.2": map[string]any{"name": "echo", "port": int64(15053), "protocol": "UDP"}},
	},
	"port of the live migration": {set: map[string]any{"spec.ports.0.targetPort": int64(49152)}, want: []string{reserved}},

	// The mesh.
	"unknown mode of mTLS": {set: map[string]any{"spec.mesh.mtls.mode": "Strickt"}, want: []string{"spec.mesh.mtls.mode: Unsupported value"}},
	"ambient":              {set: map[string]any{"spec.mesh.dataPlane": "Ambient", "spec.mesh.mtls.mode": "Permissive", "spec.capture.dns": "Proxy"}},
	"sidecar, named":       {set: map[string]any{"spec.mesh.dataPlane": "Sidecar", "spec.mesh.mtls.mode": "Disable"}},
	"unknown data plane":   {set: map[string]any{"spec.mesh.dataPlane": "ambient"}, want: []string{"spec.mesh.dataPlane: Unsupported value"}},
	"ambient without mTLS": {
		set:  map[string]any{"spec.mesh.dataPlane": "Ambient", "spec.mesh.mtls.mode": "Disable"},
		want: []string{"mesh.dataPlane Ambient does not support mTLS mode Disable, which ztunnel handles as Permissive: set mesh.mtls.mode and ports[].mtls to Permissive or Strict"},
	},
	"ambient with a port without mTLS": {
		set:  map[string]any{"spec.mesh.dataPlane": "Ambient", "spec.ports.0.mtls": "Disable"},
		want: []string{"mesh.dataPlane Ambient does not support mTLS mode Disable"},
	},
	"mode of a port":                {set: map[string]any{"spec.ports.0.mtls": "Permissive"}},
	"unknown mode of a port":        {set: map[string]any{"spec.ports.0.mtls": "Off"}, want: []string{"spec.ports[0].mtls: Unsupported value"}},
	"mode of a direct port":         {set: map[string]any{"spec.ports.1.mtls": "Strict"}, want: []string{mtlsViaMesh}},
	"mode of a UDP port":            {set: map[string]any{"spec.ports.2": udp(map[string]any{"mtls": "Disable"})}, want: []string{onlyTCP}},
	"mode of a port via Mesh":       {set: map[string]any{"spec.ports.0.via": "Mesh", "spec.ports.0.protocol": "TCP", "spec.ports.0.mtls": "Disable"}},
	"timeout":                       {set: map[string]any{"spec.ports.0.timeout": "1m30s"}},
	"timeout without a unit":        {set: map[string]any{"spec.ports.0.timeout": "30"}, want: []string{"spec.ports[0].timeout", duration}},
	"timeout of a gRPC port":        {set: map[string]any{"spec.ports.0.timeout": "5s", "spec.ports.0.appProtocol": "grpc"}},
	"timeout without appProtocol":   {set: map[string]any{"spec.ports.0.timeout": "5s", "spec.ports.0.appProtocol": removed}},
	"timeout of a TCP port":         {set: map[string]any{"spec.ports.0.timeout": "5s", "spec.ports.0.appProtocol": "tcp"}, want: []string{onlyHTTP}},
	"timeout of a direct port":      {set: map[string]any{"spec.ports.1.timeout": "5s"}, want: []string{onlyHTTP}},
	"retries of a UDP port":         {set: map[string]any{"spec.ports.2": udp(map[string]any{"retries": map[string]any{"attempts": int64(1)}})}, want: []string{onlyTCP}},
	"timeout of a UDP port":         {set: map[string]any{"spec.ports.2": udp(map[string]any{"timeout": "5s"})}, want: []string{onlyTCP}},
	"timeout of one digit":          {set: map[string]any{"spec.ports.0.timeout": "5"}, want: []string{duration}},
	"negative timeout":              {set: map[string]any{"spec.ports.0.timeout": "-5s"}, want: []string{duration}},
	"retries":                       {set: map[string]any{"spec.ports.0.retries": map[string]any{"attempts": int64(3), "perTryTimeout": "2s", "retryOn": "gateway-error"}}},
	"retries turned off":            {set: map[string]any{"spec.ports.0.retries": map[string]any{"attempts": int64(0)}}},
	"retries turned off, with more": {set: map[string]any{"spec.ports.0.retries": map[string]any{"attempts": int64(0), "retryOn": "reset"}}, want: []string{attempts}},
	"no retries, with a backoff":    {set: map[string]any{"spec.ports.0.retries": map[string]any{"backoff": "25ms"}}, want: []string{attempts}},
	"no retries, and other hosts":   {set: map[string]any{"spec.ports.0.retries": map[string]any{"retryIgnorePreviousHosts": true}}, want: []string{attempts}},
	"negative retries":              {set: map[string]any{"spec.ports.0.retries": map[string]any{"attempts": int64(-1)}}, want: []string{attempts}},
	"empty retries":                 {set: map[string]any{"spec.ports.0.retries": map[string]any{}}},
	"retries without attempts":      {set: map[string]any{"spec.ports.0.retries": map[string]any{"retryOn": "reset"}}, want: []string{attempts}},
	"typo in retries": {
		set:  map[string]any{"spec.ports.0.retries": map[string]any{"attempts": int64(1), "retriesOn": "reset"}},
		want: []string{`unknown field "spec.ports[0].retries.retriesOn"`},
	},
	"retries without a unit":          {set: map[string]any{"spec.ports.0.retries": map[string]any{"attempts": int64(1), "perTryTimeout": "2"}}, want: []string{perTry}},
	"retries that Istio rejects":      {set: map[string]any{"spec.ports.0.retries": map[string]any{"attempts": int64(1), "perTryTimeout": "0s"}}, want: []string{perTry}},
	"exported to all":                 {set: map[string]any{"spec.mesh.exportTo": []any{"*"}}},
	"exported to namespaces":          {set: map[string]any{"spec.mesh.exportTo": []any{".", "ingress"}}},
	"exported to all and a namespace": {set: map[string]any{"spec.mesh.exportTo": []any{"ingress", "*"}}, want: []string{`exportTo "*" exports to all namespaces: remove the other entries`}},
	"exported to none":                {set: map[string]any{"spec.mesh.exportTo": []any{"~"}}, want: []string{"spec.mesh.exportTo[0]", "should match"}},
	"exported to a namespace twice":   {set: map[string]any{"spec.mesh.exportTo": []any{"ingress", "ingress"}}, want: []string{"spec.mesh.exportTo[1]: Duplicate value"}},
	"exported to no name":             {set: map[string]any{"spec.mesh.exportTo": []any{"a/b"}}, want: []string{"spec.mesh.exportTo[0]", "should match"}},
	"exported to an empty list":       {set: map[string]any{"spec.mesh.exportTo": []any{}}, want: []string{"spec.mesh.exportTo", "at least 1 items"}},
	"exported to too many namespaces": {set: map[string]any{"spec.mesh.exportTo": namespaces(65)}, want: []string{"spec.mesh.exportTo: Too many"}},
	"exported to 64 namespaces":       {set: map[string]any{"spec.mesh.exportTo": namespaces(64)}},
	"exported to a name of 64":        {set: map[string]any{"spec.mesh.exportTo": []any{strings.Repeat("a", 64)}}, want: []string{"spec.mesh.exportTo[0]", "63"}},
	"trafficPolicy": {set: map[string]any{"spec.mesh.trafficPolicy": map[string]any{
		"connectionPool":   map[string]any{"tcp": map[string]any{"maxConnections": int64(10), "connectTimeout": "5s"}},
		"loadBalancer":     map[string]any{"simple": "LEAST_REQUEST"},
		"outlierDetection": map[string]any{"consecutive5xxErrors": int64(5)},
	}}},
	"typo in trafficPolicy": {
		set:  map[string]any{"spec.mesh.trafficPolicy.conectionPool": map[string]any{}},
		want: []string{`unknown field "spec.mesh.trafficPolicy.conectionPool"`},
	},
	"value that Istio does not know": {
		set:  map[string]any{"spec.mesh.trafficPolicy.loadBalancer.simple": "FASTEST"},
		want: []string{"spec.mesh.trafficPolicy.loadBalancer.simple: Unsupported value"},
	},
	"two fields of a oneof of Istio": {
		set: map[string]any{"spec.mesh.trafficPolicy.loadBalancer": map[string]any{
			"simple": "RANDOM", "consistentHash": map[string]any{"useSourceIp": true},
		}},
		want: []string{"spec.mesh.trafficPolicy.loadBalancer"},
	},

	// Capture.
	"excluded ports":                {set: map[string]any{"spec.capture.outbound.excludePorts": []any{portRange("", 9999, 0), portRange("TCP", 1, 1), portRange("UDP", 100, 200)}}},
	"excluded port 0":               {set: map[string]any{"spec.capture.outbound.excludePorts": []any{portRange("", 0, 0)}}, want: []string{"spec.capture.outbound.excludePorts[0].port"}},
	"excluded port 65536":           {set: map[string]any{"spec.capture.outbound.excludePorts": []any{portRange("", 1, 65536)}}, want: []string{"spec.capture.outbound.excludePorts[0].endPort"}},
	"range with endPort below port": {set: map[string]any{"spec.capture.outbound.excludePorts": []any{portRange("", 10, 9)}}, want: []string{"endPort must be greater than or equal to port"}},
	"range of ICMP":                 {set: map[string]any{"spec.capture.outbound.excludePorts": []any{portRange("ICMP", 1, 0)}}, want: []string{"excludePorts[0].protocol: Unsupported value"}},
	"inbound ranges":                {set: map[string]any{"spec.capture.inbound.excludePorts": []any{portRange("", 20000, 30000), portRange("UDP", 10000, 20000)}}},
	"inbound range over a reserved port": {
		set:  map[string]any{"spec.capture.inbound.excludePorts": []any{portRange("", 14000, 15000)}},
		want: []string{"spec.capture.inbound.excludePorts", "a range contains a reserved TCP port: " + reservedPorts + "; exclude these ports from the range"},
	},
	"inbound range over a mesh port": {
		set:  map[string]any{"spec.capture.inbound.excludePorts": []any{portRange("", 8000, 8100)}},
		want: []string{"capture.inbound.excludePorts contains a port via Mesh: set via of the port to Direct, or remove it from the range"},
	},
	"inbound UDP range over a mesh port": {set: map[string]any{"spec.capture.inbound.excludePorts": []any{portRange("UDP", 8000, 8100)}}},
	"inbound range over the start gate": {
		set:  map[string]any{"spec.capture.inbound.excludePorts": []any{portRange("", 15900, 15950)}},
		want: []string{"a range contains a reserved TCP port"},
	},
	"a port of the start gate": {set: map[string]any{"spec.ports.0.targetPort": int64(15901)}, want: []string{reserved}},
	"start without delay":      {set: map[string]any{"spec.start": "Immediate"}},
	"start after the rules":    {set: map[string]any{"spec.start": "AfterProgrammed"}},
	"unknown deletion policy":  {set: map[string]any{"spec.deletionPolicy": "Keep"}, want: []string{"spec.deletionPolicy: Unsupported value"}},
	"deletion policy":          {set: map[string]any{"spec.deletionPolicy": "Orphan"}},
	"unknown start policy":     {set: map[string]any{"spec.start": "Later"}, want: []string{"spec.start: Unsupported value"}},
	"flows reset":              {set: map[string]any{"spec.capture.onChange": "Reset"}},
	"unknown change policy":    {set: map[string]any{"spec.capture.onChange": "Drain"}, want: []string{"spec.capture.onChange: Unsupported value"}},
	"DNS to the proxy":         {set: map[string]any{"spec.capture.dns": "Proxy"}},
	"unknown DNS policy":       {set: map[string]any{"spec.capture.dns": "Mesh"}, want: []string{"spec.capture.dns: Unsupported value"}},
	"unmeshed dropped":         {set: map[string]any{"spec.capture.unmeshed": "Drop"}},
	"unknown unmeshed policy":  {set: map[string]any{"spec.capture.unmeshed": "Reject"}, want: []string{"spec.capture.unmeshed: Unsupported value"}},
	"no excluded port":         {set: map[string]any{"spec.capture.outbound.excludePorts": []any{}}, want: []string{"spec.capture.outbound.excludePorts", "at least 1 items"}},
	"excluded networks":        {set: map[string]any{"spec.capture.outbound.excludeCIDRs": []any{"10.96.0.0/16", "192.0.2.1/32", "0.0.0.0/0"}}},
	"excluded network twice":   {set: map[string]any{"spec.capture.outbound.excludeCIDRs": []any{"10.96.0.0/16", "10.96.0.0/16"}}, want: []string{"spec.capture.outbound.excludeCIDRs[1]: Duplicate value"}},
	"network is not a CIDR":    {set: map[string]any{"spec.capture.outbound.excludeCIDRs": []any{"10.96.0.0/33"}}, want: []string{cidr}},
	"network with host bits":   {set: map[string]any{"spec.capture.outbound.excludeCIDRs": []any{"10.96.0.5/16"}}, want: []string{hostBits}},
	"IPv6 with host bits":      {set: map[string]any{"spec.capture.outbound.includeCIDRs": []any{"fd00:96::1/112"}}, want: []string{hostBits}},
	"address without a length": {set: map[string]any{"spec.capture.outbound.excludeCIDRs": []any{"10.96.10.10"}}, want: []string{cidr}},
	"network of IPv6":          {set: map[string]any{"spec.capture.outbound.excludeCIDRs": []any{"2001:db8::/32", "::/0"}}},
	"129 excluded networks":    {set: map[string]any{"spec.capture.outbound.excludeCIDRs": networks(129)}, want: []string{"spec.capture.outbound.excludeCIDRs: Too many"}},
	"128 excluded networks":    {set: map[string]any{"spec.capture.outbound.excludeCIDRs": networks(128)}},
	"included networks":        {set: map[string]any{"spec.capture.outbound.includeCIDRs": networks(128)}},
	"included network of IPv6": {set: map[string]any{"spec.capture.outbound.includeCIDRs": []any{"2001:db8::/32", "::/0"}}},

	// The virtual machine: the schema of KubeVirt.
	"typo in the virtual machine": {
		set:  map[string]any{"spec.virtualMachine.template.spec.domian": map[string]any{}},
		want: []string{`unknown field "spec.virtualMachine.template.spec.domian"`},
	},
	"no domain": {
		set:  map[string]any{"spec.virtualMachine.template.spec.domain": removed},
		want: []string{"spec.virtualMachine.template.spec.domain: Required value"},
	},
	"wrong type in the virtual machine": {
		set:  map[string]any{"spec.virtualMachine.template.spec.terminationGracePeriodSeconds": "soon"},
		want: []string{"spec.virtualMachine.template.spec.terminationGracePeriodSeconds"},
	},
	"metadata of the template": {set: map[string]any{
		"spec.virtualMachine.template.metadata": map[string]any{"labels": map[string]any{"team": "shop"}, "annotations": map[string]any{"a": "b"}},
	}},
	"quantities": {set: map[string]any{
		"spec.virtualMachine.template.spec.domain.memory.guest":  "256Mi",
		"spec.virtualMachine.template.spec.domain.cpu.cores":     int64(2),
		"spec.virtualMachine.template.spec.domain.resources":     map[string]any{"requests": map[string]any{"memory": "1Gi", "cpu": int64(1)}},
		"spec.virtualMachine.template.spec.readinessProbe":       map[string]any{"tcpSocket": map[string]any{"port": int64(8080)}},
		"spec.virtualMachine.template.spec.domain.devices.disks": []any{map[string]any{"name": "root", "disk": map[string]any{"bus": "virtio"}}},
	}},
}

func TestMeshedVirtualMachine(t *testing.T) { run(t, meshedVirtualMachine, meshedVirtualMachineCases) }

// namespaces returns n names of namespaces.
func namespaces(n int) []any {
	out := make([]any, n)
	for i := range out {
		out[i] = fmt.Sprintf("ns-%d", i)
	}
	return out
}

func port(name string, number int64) map[string]any {
	return map[string]any{"name": name, "port": number}
}

// udp returns a UDP port with additional fields.
func udp(more map[string]any) map[string]any {
	more["name"], more["port"], more["protocol"] = "echo", int64(9000), "UDP"
	return more
}

// portRange returns a port range without empty fields.
func portRange(protocol string, port, end int64) map[string]any {
	out := map[string]any{"port": port}
	if protocol != "" {
		out["protocol"] = protocol
	}
	if end != 0 {
		out["endPort"] = end
	}
	return out
}
