// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

func binding(set func(*kubevirtv1.Interface)) *b.MVMBuilder {
	iface := kubevirtv1.Interface{Name: "default"}
	set(&iface)
	return b.MVM("web").Interface(iface, b.PodNetwork(""))
}

func TestSpec(t *testing.T) {
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want []string
	}{
		"smallest":                  {mvm: b.MVM("web")},
		"masquerade named":          {mvm: b.MVM("web").Interface(b.Masquerade("default"), b.PodNetwork(""))},
		"no binding named":          {mvm: binding(func(*kubevirtv1.Interface) {})},
		"secondary bridge":          {mvm: b.MVM("web").Interface(b.Masquerade("default"), b.PodNetwork("")).Interface(b.Bridge("lan"), b.MultusNetwork("lan"))},
		"every kind of port":        {mvm: b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.TLS("tls", 443, 8443), b.TCP("db", 5432), b.Direct("ssh", 22), b.UDP("dns", 53))},
		"one number, two protocols": {mvm: b.MVM("web").Ports(b.TCP("dns", 53), b.UDP("dns-udp", 53))},
		"reserved number over UDP":  {mvm: b.MVM("web").Ports(b.UDP("odd", 15053))},
		"reserved number outside":   {mvm: b.MVM("web").Ports(b.HTTP("http", 15006, 8080))},
		"own labels kept":           {mvm: b.MVM("web").TemplateLabel("app", "shop").TemplateLabel("version", "v1").TemplateLabel("team", "a")},
		"own ports of the interface": {
			mvm: b.MVM("web").Interface(b.Masquerade("default", kubevirtv1.Port{Port: 8080}, kubevirtv1.Port{Port: 15021, Protocol: "UDP"}), b.PodNetwork("")),
		},
		"ranges": {
			mvm: b.MVM("web").ExcludeRanges(v1alpha1.PortRange{Port: 1, EndPort: 65535}, v1alpha1.PortRange{Protocol: "UDP", Port: 123}).
				ExcludeInbound(v1alpha1.PortRange{Port: 20000, EndPort: 30000}, v1alpha1.PortRange{Protocol: "UDP", Port: 8000, EndPort: 16000}).
				IncludeCIDRs("10.0.0.0/8").Unmeshed(v1alpha1.UnmeshedPolicyDrop),
		},
		"DNS to the proxy": {mvm: b.MVM("web").DNS(v1alpha1.DNSPolicyProxy)},
		"DNS to the proxy, own configuration": {
			mvm: b.MVM("web").DNS(v1alpha1.DNSPolicyProxy).TemplateAnnotation("proxy.istio.io/config", "proxyMetadata: {ISTIO_META_DNS_CAPTURE: 'true'}"),
		},
		"DNS to a resolver that is off": {
			mvm:  b.MVM("web").DNS(v1alpha1.DNSPolicyProxy).TemplateAnnotation("proxy.istio.io/config", "concurrency: 2"),
			want: []string{"InvalidSpec spec.virtualMachine.template.metadata.annotations[proxy.istio.io/config]"},
		},
		"DNS elsewhere": {mvm: b.MVM("web").DNS("Mesh"), want: []string{"InvalidSpec spec.capture.dns"}},
		"probes of open ports": {
			mvm: b.MVM("web").Ports(b.HTTP("http", 80, 8080)).ExcludeInbound(v1alpha1.PortRange{Port: 9000, EndPort: 9100}).VM(probes(8080, 9050)),
		},
		"probes of closed ports": {
			mvm: b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.UDP("echo", 9050)).VM(probes(80, 9050)),
			want: []string{
				"InvalidPort spec.virtualMachine.template.spec.readinessProbe.tcpSocket.port",
				"InvalidPort spec.virtualMachine.template.spec.livenessProbe.httpGet.port",
			},
		},
		"probes by the names of ports": {
			mvm: b.MVM("web").Ports(b.HTTP("http", 80, 8080)).
				Interface(kubevirtv1.Interface{Name: "default", Ports: []kubevirtv1.Port{{Name: "web", Port: 8080}, {Name: "admin", Port: 9000}}}, b.PodNetwork("")).
				VM(probedAt(intstr.FromString("web"), "")),
		},
		"a probe of a closed port by its name": {
			mvm: b.MVM("web").Ports(b.HTTP("http", 80, 8080)).
				Interface(kubevirtv1.Interface{Name: "default", Ports: []kubevirtv1.Port{{Name: "web", Port: 8080}, {Name: "admin", Port: 9000}}}, b.PodNetwork("")).
				VM(probedAt(intstr.FromString("admin"), "")),
			want: []string{"InvalidPort spec.virtualMachine.template.spec.readinessProbe.tcpSocket.port"},
		},
		"a probe by an unknown name": {
			mvm:  b.MVM("web").Ports(b.HTTP("web", 80, 8080)).VM(probedAt(intstr.FromString("web"), "")),
			want: []string{"InvalidPort spec.virtualMachine.template.spec.readinessProbe.tcpSocket.port"},
		},
		"a probe of another host": {
			mvm: b.MVM("web").Ports(b.HTTP("http", 80, 8080)).VM(probedAt(intstr.FromInt(9000), "192.0.2.1")),
		},
		"faulty ranges": {
			mvm: b.MVM("web").ExcludeRanges(v1alpha1.PortRange{Port: 10, EndPort: 9}, v1alpha1.PortRange{Protocol: "ICMP", Port: 1}).
				ExcludeInbound(v1alpha1.PortRange{Port: 15002, EndPort: 15004}, v1alpha1.PortRange{Port: 8000, EndPort: 9000}).
				IncludeCIDRs("fd00::1/8").Unmeshed("Reject"),
			want: []string{
				"InvalidPort spec.capture.outbound.excludePorts[0].endPort", "InvalidPort spec.capture.outbound.excludePorts[1].protocol",
				"InvalidCIDR spec.capture.outbound.includeCIDRs[0]",
				"ReservedPort spec.capture.inbound.excludePorts[0]", "InvalidPort spec.capture.inbound.excludePorts[1]",
				"InvalidSpec spec.capture.unmeshed",
			},
		},
		"exclusions": {mvm: b.MVM("web").ExcludePorts(5432, 15020).ExcludeCIDRs("10.96.0.0/16", "10.0.0.0/8", "0.0.0.0/0", "fd00::/8", "::/0")},

		"name of 47": {mvm: b.MVM(strings.Repeat("a", 47))},
		"name of 48": {mvm: b.MVM(strings.Repeat("a", 48)), want: []string{"NameTooLong metadata.name"}},
		"name with a dot": {
			mvm: b.MVM("web.shop"), want: []string{"InvalidSpec metadata.name"},
		},
		"no template": {
			mvm:  b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) { s.Template = nil }),
			want: []string{"InvalidSpec spec.virtualMachine.template"},
		},
		"bridge": {
			mvm:  b.MVM("web").Interface(b.Bridge("default"), b.PodNetwork("")),
			want: []string{"BridgeBinding spec.virtualMachine.template.spec.domain.devices.interfaces[0].bridge"},
		},
		"passt": {
			mvm:  binding(func(i *kubevirtv1.Interface) { i.PasstBinding = &kubevirtv1.InterfacePasstBinding{} }),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.interfaces[0].passtBinding"},
		},
		"old passt": {
			mvm:  binding(func(i *kubevirtv1.Interface) { i.DeprecatedPasst = &kubevirtv1.DeprecatedInterfacePasst{} }),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.interfaces[0].passt"},
		},
		"slirp": {
			mvm:  binding(func(i *kubevirtv1.Interface) { i.DeprecatedSlirp = &kubevirtv1.DeprecatedInterfaceSlirp{} }),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.interfaces[0].slirp"},
		},
		"macvtap": {
			mvm:  binding(func(i *kubevirtv1.Interface) { i.DeprecatedMacvtap = &kubevirtv1.DeprecatedInterfaceMacvtap{} }),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.interfaces[0].macvtap"},
		},
		"SR-IOV": {
			mvm:  binding(func(i *kubevirtv1.Interface) { i.SRIOV = &kubevirtv1.InterfaceSRIOV{} }),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.interfaces[0].sriov"},
		},
		"binding plugin": {
			mvm:  binding(func(i *kubevirtv1.Interface) { i.Binding = &kubevirtv1.PluginBinding{Name: "x"} }),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.interfaces[0].binding"},
		},
		"absent interface": {
			mvm:  binding(func(i *kubevirtv1.Interface) { i.State = kubevirtv1.InterfaceStateAbsent }),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.interfaces[0].state"},
		},
		"no pod network": {
			mvm:  b.MVM("web").Interface(b.Bridge("lan"), b.MultusNetwork("lan")),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.networks"},
		},
		"interface of another name": {
			mvm: b.MVM("web").Interface(b.Masquerade("a"), b.PodNetwork("")).VM(func(s *kubevirtv1.VirtualMachineSpec) {
				s.Template.Spec.Networks[0].Name = "other"
			}),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.interfaces"},
		},
		"pod interface not attached": {
			mvm: b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) {
				s.Template.Spec.Domain.Devices.AutoattachPodInterface = new(false)
			}),
			want: []string{"NoMasqueradeInterface spec.virtualMachine.template.spec.domain.devices.autoattachPodInterface"},
		},
		"reserved port of the interface": {
			mvm:  b.MVM("web").Interface(b.Masquerade("default", kubevirtv1.Port{Port: 80}, kubevirtv1.Port{Port: 15021}), b.PodNetwork("")),
			want: []string{"ReservedPort spec.virtualMachine.template.spec.domain.devices.interfaces[0].ports[1].port"},
		},
		"reserved port range": {
			mvm: binding(func(i *kubevirtv1.Interface) {
				i.PortRanges = []kubevirtv1.PortRange{{Protocol: "UDP", Start: 15000, End: 15100}, {Protocol: "TCP", Start: 49000, End: 50000}}
			}),
			want: []string{"ReservedPort spec.virtualMachine.template.spec.domain.devices.interfaces[0].portRanges[1]"},
		},
		"guest network is IPv6": {
			mvm:  b.MVM("web").Interface(b.Masquerade("default"), b.PodNetwork("fd10:0:2::/120")),
			want: []string{"InvalidCIDR spec.virtualMachine.template.spec.networks[0].pod.vmNetworkCIDR"},
		},
		"guest network too small": {
			mvm:  b.MVM("web").Interface(b.Masquerade("default"), b.PodNetwork("10.0.2.0/31")),
			want: []string{"InvalidCIDR spec.virtualMachine.template.spec.networks[0].pod.vmNetworkCIDR"},
		},
		"version label differs": {
			mvm:  b.MVM("web").TemplateLabel("version", "v2"),
			want: []string{"InvalidSpec spec.virtualMachine.template.metadata.labels[version]"},
		},
		"another's labels": {
			mvm: b.MVM("web").TemplateLabel(v1alpha1.LabelMeshedVirtualMachine, "db").TemplateLabel(v1alpha1.LabelService, "db"),
			want: []string{
				"InvalidSpec spec.virtualMachine.template.metadata.labels[meshvm.io/meshed-virtual-machine]",
				"InvalidSpec spec.virtualMachine.template.metadata.labels[meshvm.io/service]",
			},
		},
		"injection disabled": {
			mvm: b.MVM("web").TemplateLabel(v1alpha1.LabelSidecarInject, "false").TemplateAnnotation(v1alpha1.LabelSidecarInject, "false"),
			want: []string{
				"InvalidSpec spec.virtualMachine.template.metadata.labels[sidecar.istio.io/inject]",
				"InvalidSpec spec.virtualMachine.template.metadata.annotations[sidecar.istio.io/inject]",
			},
		},

		"proxy's port": {
			mvm: b.MVM("web").Ports(b.HTTP("http", 80, 15006)), want: []string{"ReservedPort spec.ports[0].targetPort"},
		},
		"migration's port": {
			mvm: b.MVM("web").Ports(b.Direct("x", 49152)), want: []string{"ReservedPort spec.ports[0].port"},
		},
		"port taken twice": {
			mvm: b.MVM("web").Ports(b.HTTP("a", 80, 8080), b.HTTP("b", 80, 8081)), want: []string{"InvalidPort spec.ports[1].port"},
		},
		"target shared": {mvm: b.MVM("web").Ports(b.HTTP("a", 80, 8080), b.HTTP("b", 8080, 0), b.UDP("c", 8080))},
		"target shared by mesh and direct": {
			mvm: b.MVM("web").Ports(b.TCP("a", 8080), v1alpha1.Port{Name: "b", Port: 80, TargetPort: 8080, Via: v1alpha1.PortViaDirect}), want: []string{"InvalidPort spec.ports[1].targetPort"},
		},
		"target shared by protocols": {
			mvm: b.MVM("web").Ports(b.HTTP("a", 80, 8080), b.TCP("b", 8080)), want: []string{"InvalidPort spec.ports[1].port"},
		},
		"target shared by protocols of names": {
			mvm: b.MVM("web").Ports(b.TCP("http-a", 80), v1alpha1.Port{Name: "grpc", Port: 81, TargetPort: 80}), want: []string{"InvalidPort spec.ports[1].targetPort"},
		},
		"target shared, one protocol named": {mvm: b.MVM("web").Ports(b.TCP("http", 8080), b.HTTP("a", 80, 8080))},
		"UDP target shared":                 {mvm: b.MVM("web").Ports(b.UDP("http", 53), v1alpha1.Port{Name: "dns", Port: 54, TargetPort: 53, Protocol: "UDP"})},
		"target shared, two modes": {
			mvm:  b.MVM("web").Ports(b.HTTP("a", 80, 8080), b.HTTP("b", 81, 8080)).PortMTLS("b", v1alpha1.MTLSModePermissive),
			want: []string{"InvalidPort spec.ports[1].mtls"},
		},
		"target shared, one mode": {
			mvm: b.MVM("web").Ports(b.HTTP("a", 80, 8080), b.HTTP("b", 81, 8080)).
				PortMTLS("a", v1alpha1.MTLSModePermissive).PortMTLS("b", v1alpha1.MTLSModePermissive),
		},
		"neither strategy": {mvm: b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) { s.RunStrategy = nil })},
		"unknown strategy": {
			mvm:  b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) { *s.RunStrategy = "Alwayz" }),
			want: []string{"InvalidSpec spec.virtualMachine.runStrategy"},
		},
		"both strategies": {
			mvm:  b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) { s.Running = new(true) }),
			want: []string{"InvalidSpec spec.virtualMachine"},
		},
		"no resolver of the cluster":          {mvm: dnsPolicy("None"), want: []string{"InvalidSpec spec.virtualMachine.template.spec.dnsPolicy"}},
		"resolver of the node":                {mvm: dnsPolicy("Default"), want: []string{"InvalidSpec spec.virtualMachine.template.spec.dnsPolicy"}},
		"additional resolver":                 {mvm: dnsPolicy("ClusterFirst")},
		"no resolver of the cluster, ambient": {mvm: dnsPolicy("None").DataPlane(v1alpha1.DataPlaneAmbient)},
		"dedicated CPUs":                      {mvm: dedicated()},
		"dedicated CPUs, equal resources": {
			mvm: dedicated("sidecar.istio.io/proxyCPU", "1", "sidecar.istio.io/proxyCPULimit", "1000m",
				"sidecar.istio.io/proxyMemory", "1Gi", "sidecar.istio.io/proxyMemoryLimit", "1Gi"),
		},
		"dedicated CPUs, resources that differ": {
			mvm: dedicated("sidecar.istio.io/proxyCPU", "100m", "sidecar.istio.io/proxyCPULimit", "2",
				"sidecar.istio.io/proxyMemory", "1Gi", "sidecar.istio.io/proxyMemoryLimit", "1Gi"),
			want: []string{"InvalidSpec spec.virtualMachine.template.metadata.annotations[sidecar.istio.io/proxyCPULimit]"},
		},
		"dedicated CPUs, one resource": {
			mvm: dedicated("sidecar.istio.io/proxyCPU", "100m"),
			want: []string{
				"InvalidSpec spec.virtualMachine.template.metadata.annotations[sidecar.istio.io/proxyCPULimit]",
				"InvalidSpec spec.virtualMachine.template.metadata.annotations[sidecar.istio.io/proxyMemoryLimit]",
			},
		},
		"dedicated CPUs, one resource, ambient": {mvm: dedicated("sidecar.istio.io/proxyCPU", "100m").DataPlane(v1alpha1.DataPlaneAmbient)},
		"one resource":                          {mvm: b.MVM("web").TemplateAnnotation("sidecar.istio.io/proxyCPU", "100m")},
		"no ports":                              {mvm: b.MVM("web").NoPorts()},
		"long name of a port":                   {mvm: b.MVM("web").Ports(b.TCP("tcp-elasticsearch-http", 9200))},
		"websocket":                             {mvm: b.MVM("web").Ports(v1alpha1.Port{Name: "ws", Port: 80, AppProtocol: "kubernetes.io/ws"}).Timeout("ws", "5s")},
		"headless":                              {mvm: b.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).Ports(b.HTTP("http", 8080, 8080), b.Direct("ssh", 22))},
		"headless with another targetPort": {
			mvm:  b.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).Ports(b.HTTP("http", 80, 8080)),
			want: []string{"InvalidPort spec.ports[0].targetPort"},
		},
		"settings of a load balancer": {
			mvm: b.MVM("web").Service(v1alpha1.ServiceSpec{
				Type: v1alpha1.ServiceTypeLoadBalancer, LoadBalancerClass: "example.com/lb", LoadBalancerSourceRanges: []string{"192.0.2.0/24"},
				ExternalTrafficPolicy: "Local", Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"example.com/dns": "web"},
			}).Ports(v1alpha1.Port{Name: "ssh", Port: 22, Via: v1alpha1.PortViaDirect, NodePort: 30022}),
		},
		"settings of a load balancer without one": {
			mvm: b.MVM("web").Service(v1alpha1.ServiceSpec{
				LoadBalancerClass: "example.com/lb", LoadBalancerSourceRanges: []string{"192.0.2.0/24"}, ExternalTrafficPolicy: "Local",
			}).Ports(v1alpha1.Port{Name: "ssh", Port: 22, Via: v1alpha1.PortViaDirect, NodePort: 30022}),
			want: []string{
				"InvalidSpec spec.service.externalTrafficPolicy", "InvalidSpec spec.service.loadBalancerClass",
				"InvalidSpec spec.service.loadBalancerSourceRanges", "InvalidPort spec.ports[0].nodePort",
			},
		},
		"source range that does not parse": {
			mvm:  b.MVM("web").Service(v1alpha1.ServiceSpec{Type: v1alpha1.ServiceTypeLoadBalancer, LoadBalancerSourceRanges: []string{"192.0.2.7/24"}}),
			want: []string{"InvalidCIDR spec.service.loadBalancerSourceRanges[0]"},
		},
		"metadata": {mvm: b.MVM("web").VMMetadata(map[string]string{"team": "a"}, map[string]string{"backup.example.com/keep": "7d"})},
		"metadata of the operator": {
			mvm: b.MVM("web").VMMetadata(map[string]string{"app.kubernetes.io/managed-by": "Helm"}, map[string]string{"meshvm.io/applied-digest": "x"}).
				Service(v1alpha1.ServiceSpec{Labels: map[string]string{"meshvm.io/meshed-virtual-machine": "db"}}),
			want: []string{
				"InvalidSpec spec.virtualMachineMetadata.labels[app.kubernetes.io/managed-by]",
				"InvalidSpec spec.virtualMachineMetadata.annotations[meshvm.io/applied-digest]",
				"InvalidSpec spec.service.labels[meshvm.io/meshed-virtual-machine]",
			},
		},
		"metadata that Kubernetes does not accept": {
			mvm:  b.MVM("web").VMMetadata(map[string]string{"team": "a b"}, map[string]string{"-": "x"}),
			want: []string{"InvalidSpec spec.virtualMachineMetadata.labels", "InvalidSpec spec.virtualMachineMetadata.annotations"},
		},
		"name taken twice": {
			mvm: b.MVM("web").Ports(b.TCP("a", 80), b.TCP("a", 81)), want: []string{"InvalidPort spec.ports[1].name"},
		},
		"no such port": {
			mvm: b.MVM("web").Ports(b.HTTP("a", 0, 70000)), want: []string{"InvalidPort spec.ports[0].port", "InvalidPort spec.ports[0].targetPort"},
		},
		"UDP through the mesh": {
			mvm: b.MVM("web").Ports(v1alpha1.Port{
				Name: "u", Port: 53, Protocol: v1alpha1.PortProtocolUDP, Via: v1alpha1.PortViaMesh, AppProtocol: "http",
			}),
			want: []string{"InvalidPort spec.ports[0].via", "InvalidPort spec.ports[0].appProtocol"},
		},
		"unknown protocol and via": {
			mvm:  b.MVM("web").Ports(v1alpha1.Port{Name: "s", Port: 1, Protocol: "SCTP"}, v1alpha1.Port{Name: "r", Port: 2, Via: "Detour"}),
			want: []string{"InvalidPort spec.ports[0].protocol", "InvalidPort spec.ports[1].via"},
		},
		"target shared, the default mode named": {
			mvm: b.MVM("web").Ports(b.HTTP("a", 80, 8080), b.HTTP("b", 81, 8080)).PortMTLS("b", v1alpha1.MTLSModeStrict),
		},
		"mutual TLS of ports that bypass the proxy": {
			mvm: b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.Direct("ssh", 22), b.UDP("dns", 53)).
				PortMTLS("http", v1alpha1.MTLSModePermissive).PortMTLS("ssh", v1alpha1.MTLSModeStrict).PortMTLS("dns", v1alpha1.MTLSModeDisable),
			want: []string{"InvalidPort spec.ports[1].mtls", "InvalidPort spec.ports[2].mtls"},
		},
		"zero timeout": {
			mvm: b.MVM("web").Timeout("http", "0s"), want: []string{"InvalidPort spec.ports[0].timeout"},
		},
		"timeout without a unit": {
			mvm: b.MVM("web").Timeout("http", "50"), want: []string{"InvalidPort spec.ports[0].timeout"},
		},
		"retries without HTTP": {
			mvm:  b.MVM("web").Ports(b.TCP("db", 5432)).Retries("db", &networkingv1alpha3.HTTPRetry{Attempts: 2}),
			want: []string{"InvalidPort spec.ports[0].retries"},
		},
		"timeout of a port that is HTTP by its name": {mvm: b.MVM("web").Ports(b.TCP("grpc-api", 9000)).Timeout("grpc-api", "5s")},
		"timeout of a port that is TCP by its name": {
			mvm:  b.MVM("web").Ports(b.TCP("tcp-http", 80)).Timeout("tcp-http", "5s"),
			want: []string{"InvalidPort spec.ports[0].timeout"},
		},
		"timeout of a port that bypasses the proxy": {
			mvm:  b.MVM("web").Ports(b.Direct("http", 80)).Timeout("http", "5s"),
			want: []string{"InvalidPort spec.ports[0].timeout"},
		},
		"retries turned off": {mvm: b.MVM("web").Retries("http", &networkingv1alpha3.HTTPRetry{})},
		"retries turned off, and configured": {
			mvm:  b.MVM("web").Retries("http", &networkingv1alpha3.HTTPRetry{RetryOn: "reset"}),
			want: []string{"InvalidPort spec.ports[0].retries.attempts"},
		},
		"negative retries": {
			mvm:  b.MVM("web").Retries("http", &networkingv1alpha3.HTTPRetry{Attempts: -1}),
			want: []string{"InvalidPort spec.ports[0].retries.attempts"},
		},
		"invalid exclusions": {
			mvm: b.MVM("web").ExcludePorts(0, 1, 65536).ExcludeCIDRs("10.0.0.0", "fd00::", "::ffff:10.0.0.0/104", "10.0.0.0/33"),
			want: []string{
				"InvalidPort spec.capture.outbound.excludePorts[0].port", "InvalidPort spec.capture.outbound.excludePorts[2].port",
				"InvalidCIDR spec.capture.outbound.excludeCIDRs[0]", "InvalidCIDR spec.capture.outbound.excludeCIDRs[1]",
				"InvalidCIDR spec.capture.outbound.excludeCIDRs[2]", "InvalidCIDR spec.capture.outbound.excludeCIDRs[3]",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(tc.mvm.Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}

func dnsPolicy(p corev1.DNSPolicy) *b.MVMBuilder {
	return b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) {
		s.Template.Spec.DNSPolicy = p
		s.Template.Spec.DNSConfig = &corev1.PodDNSConfig{Nameservers: []string{"192.0.2.53"}}
	})
}

// dedicated returns a guest with dedicated CPUs and annotations.
func dedicated(annotations ...string) *b.MVMBuilder {
	mvm := b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) {
		s.Template.Spec.Domain.CPU = &kubevirtv1.CPU{Cores: 2, DedicatedCPUPlacement: true}
	})
	for i := 0; i < len(annotations); i += 2 {
		mvm.TemplateAnnotation(annotations[i], annotations[i+1])
	}
	return mvm
}
