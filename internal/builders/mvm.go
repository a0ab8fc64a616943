// SPDX-License-Identifier: Apache-2.0

package builders

import (
	"slices"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// MVMBuilder builds a MeshedVirtualMachine.
type MVMBuilder struct {
	mvm     v1alpha1.MeshedVirtualMachine
	noPorts bool
	// portChanges are applied to the finished list of ports.
	portChanges []portChange
}

type portChange struct {
	name   string
	change func(*v1alpha1.Port)
}

// MVM returns a builder of a MeshedVirtualMachine with a small guest without
// networks. Obj adds one HTTP port if no ports are set.
func MVM(name string) *MVMBuilder {
	guest := resource.MustParse("256Mi")
	return &MVMBuilder{mvm: v1alpha1.MeshedVirtualMachine{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "MeshedVirtualMachine"},
		ObjectMeta: metav1.ObjectMeta{
			Name: name, Namespace: DefaultNamespace, UID: UID("mvm", name), Generation: 1,
		},
		Spec: v1alpha1.MeshedVirtualMachineSpec{
			Version: "v1",
			VirtualMachine: kubevirtv1.VirtualMachineSpec{
				RunStrategy: ptr.To(kubevirtv1.RunStrategyAlways),
				Template: &kubevirtv1.VirtualMachineInstanceTemplateSpec{
					Spec: kubevirtv1.VirtualMachineInstanceSpec{
						Domain: kubevirtv1.DomainSpec{Memory: &kubevirtv1.Memory{Guest: &guest}},
					},
				},
			},
		},
	}}
}

// Obj returns a copy of the object.
func (b *MVMBuilder) Obj() *v1alpha1.MeshedVirtualMachine {
	out := b.mvm.DeepCopy()
	if len(out.Spec.Ports) == 0 && !b.noPorts {
		out.Spec.Ports = []v1alpha1.Port{HTTP("http", 80, 8080)}
	}
	for _, c := range b.portChanges {
		i := slices.IndexFunc(out.Spec.Ports, func(p v1alpha1.Port) bool { return p.Name == c.name })
		c.change(&out.Spec.Ports[i])
	}
	return out
}

// Namespace sets the namespace.
func (b *MVMBuilder) Namespace(ns string) *MVMBuilder { b.mvm.Namespace = ns; return b }

// UID sets the UID. An object to be created must have an empty UID.
func (b *MVMBuilder) UID(uid types.UID) *MVMBuilder { b.mvm.UID = uid; return b }

// Generation sets the generation.
func (b *MVMBuilder) Generation(g int64) *MVMBuilder { b.mvm.Generation = g; return b }

// Annotation sets an annotation.
func (b *MVMBuilder) Annotation(key, value string) *MVMBuilder {
	b.mvm.Annotations = with(b.mvm.Annotations, key, value)
	return b
}

// Version sets the mesh subset.
func (b *MVMBuilder) Version(v string) *MVMBuilder { b.mvm.Spec.Version = v; return b }

// IPFamilyPolicy sets the IP family policy of the Service.
func (b *MVMBuilder) IPFamilyPolicy(p v1alpha1.ServiceIPFamilyPolicy) *MVMBuilder {
	b.mvm.Spec.Service.IPFamilyPolicy = p
	return b
}

// ServiceType sets the type of the Service.
func (b *MVMBuilder) ServiceType(t v1alpha1.ServiceType) *MVMBuilder {
	b.mvm.Spec.Service.Type = t
	return b
}

// Start sets the start policy.
func (b *MVMBuilder) Start(p v1alpha1.StartPolicy) *MVMBuilder { b.mvm.Spec.Start = p; return b }

// DataPlane sets the data plane.
func (b *MVMBuilder) DataPlane(d v1alpha1.DataPlane) *MVMBuilder {
	b.mvm.Spec.Mesh.DataPlane = d
	return b
}

// Waypoint sets the waypoint, in the namespace of the object if namespace is empty.
func (b *MVMBuilder) Waypoint(name, namespace string) *MVMBuilder {
	b.mvm.Spec.Mesh.Waypoint = v1alpha1.WaypointSpec{Name: name, Namespace: namespace}
	return b
}

// Ports adds ports.
func (b *MVMBuilder) Ports(ports ...v1alpha1.Port) *MVMBuilder {
	b.mvm.Spec.Ports = append(b.mvm.Spec.Ports, ports...)
	return b
}

// Port applies any other change to the port with a name.
func (b *MVMBuilder) Port(name string, change func(*v1alpha1.Port)) *MVMBuilder {
	b.portChanges = append(b.portChanges, portChange{name, change})
	return b
}

// NoPorts makes a guest that exposes no ports.
func (b *MVMBuilder) NoPorts() *MVMBuilder { b.noPorts = true; return b }

// Service sets the settings of the Service.
func (b *MVMBuilder) Service(s v1alpha1.ServiceSpec) *MVMBuilder {
	b.mvm.Spec.Service = s
	return b
}

// VMMetadata sets labels and annotations of the VirtualMachine.
func (b *MVMBuilder) VMMetadata(labels, annotations map[string]string) *MVMBuilder {
	b.mvm.Spec.VirtualMachineMetadata = v1alpha1.ObjectMetadata{Labels: labels, Annotations: annotations}
	return b
}

// MTLS sets the mutual TLS mode of all ports.
func (b *MVMBuilder) MTLS(mode v1alpha1.MTLSMode) *MVMBuilder {
	b.mvm.Spec.Mesh.MTLS.Mode = mode
	return b
}

// PortMTLS sets the mutual TLS mode of a port.
func (b *MVMBuilder) PortMTLS(port string, mode v1alpha1.MTLSMode) *MVMBuilder {
	return b.Port(port, func(p *v1alpha1.Port) { p.MTLS = mode })
}

// Allow permits clients to connect.
func (b *MVMBuilder) Allow(clients ...v1alpha1.AllowedClient) *MVMBuilder {
	b.mvm.Spec.Mesh.Allow = append(b.mvm.Spec.Mesh.Allow, clients...)
	return b
}

// Authorization adds AuthorizationPolicies.
func (b *MVMBuilder) Authorization(policies ...v1alpha1.Authorization) *MVMBuilder {
	b.mvm.Spec.Mesh.Authorization = append(b.mvm.Spec.Mesh.Authorization, policies...)
	return b
}

// HTTPRoutes adds HTTP routes.
func (b *MVMBuilder) HTTPRoutes(routes ...*networkingv1alpha3.HTTPRoute) *MVMBuilder {
	r := &b.mvm.Spec.Mesh.Routes
	r.HTTP = append(r.HTTP, routes...)
	return b
}

// TLSRoutes adds TLS routes.
func (b *MVMBuilder) TLSRoutes(routes ...*networkingv1alpha3.TLSRoute) *MVMBuilder {
	r := &b.mvm.Spec.Mesh.Routes
	r.TLS = append(r.TLS, routes...)
	return b
}

// TCPRoutes adds TCP routes.
func (b *MVMBuilder) TCPRoutes(routes ...*networkingv1alpha3.TCPRoute) *MVMBuilder {
	r := &b.mvm.Spec.Mesh.Routes
	r.TCP = append(r.TCP, routes...)
	return b
}

// Hosts sets the hosts of gateways.
func (b *MVMBuilder) Hosts(hosts ...string) *MVMBuilder {
	b.mvm.Spec.Mesh.Routes.Hosts = hosts
	return b
}

// Gateways sets the gateways.
func (b *MVMBuilder) Gateways(gateways ...string) *MVMBuilder {
	b.mvm.Spec.Mesh.Routes.Gateways = gateways
	return b
}

// Authentication sets the rules of tokens.
func (b *MVMBuilder) Authentication(mode v1alpha1.AuthenticationMode, rules ...*securityv1beta1.JWTRule) *MVMBuilder {
	b.mvm.Spec.Mesh.Authentication = v1alpha1.AuthenticationSpec{Mode: mode, JWTRules: rules}
	return b
}

// Egress limits the destinations of the guest.
func (b *MVMBuilder) Egress(e v1alpha1.EgressSpec) *MVMBuilder {
	b.mvm.Spec.Mesh.Egress = e
	return b
}

// Identity sets the service account of the guest.
func (b *MVMBuilder) Identity(account string) *MVMBuilder {
	b.mvm.Spec.Mesh.Identity.ServiceAccountName = account
	return b
}

// Telemetry configures the access log, the traces and the metrics.
func (b *MVMBuilder) Telemetry(t v1alpha1.TelemetrySpec) *MVMBuilder {
	b.mvm.Spec.Mesh.Telemetry = t
	return b
}

// Timeout sets the timeout of HTTP requests to a port.
func (b *MVMBuilder) Timeout(port, d string) *MVMBuilder {
	return b.Port(port, func(p *v1alpha1.Port) { p.Timeout = d })
}

// Retries sets the retries of HTTP requests to a port.
func (b *MVMBuilder) Retries(port string, r *networkingv1alpha3.HTTPRetry) *MVMBuilder {
	return b.Port(port, func(p *v1alpha1.Port) { p.Retries = r })
}

// MaxConnections limits the connections to a port.
func (b *MVMBuilder) MaxConnections(port string, n int32) *MVMBuilder {
	return b.Port(port, func(p *v1alpha1.Port) { p.MaxConnections = n })
}

// RateLimit limits the rate of requests or connections to a port.
func (b *MVMBuilder) RateLimit(port string, r v1alpha1.RateLimit) *MVMBuilder {
	return b.Port(port, func(p *v1alpha1.Port) { p.RateLimit = r })
}

// ExportTo sets the namespaces to which the Istio objects are exported.
func (b *MVMBuilder) ExportTo(namespaces ...string) *MVMBuilder {
	b.mvm.Spec.Mesh.ExportTo = namespaces
	return b
}

// TrafficPolicy sets Istio's traffic policy.
func (b *MVMBuilder) TrafficPolicy(p *networkingv1alpha3.TrafficPolicy) *MVMBuilder {
	b.mvm.Spec.Mesh.TrafficPolicy = p
	return b
}

// ExcludePorts adds outbound TCP ports that bypass the proxy.
func (b *MVMBuilder) ExcludePorts(ports ...int32) *MVMBuilder {
	for _, p := range ports {
		b.ExcludeRanges(v1alpha1.PortRange{Port: p})
	}
	return b
}

// ExcludeRanges adds outbound port ranges that bypass the proxy.
func (b *MVMBuilder) ExcludeRanges(ranges ...v1alpha1.PortRange) *MVMBuilder {
	o := &b.mvm.Spec.Capture.Outbound
	o.ExcludePorts = append(o.ExcludePorts, ranges...)
	return b
}

// ExcludeInbound adds ranges of guest ports that bypass the proxy.
func (b *MVMBuilder) ExcludeInbound(ranges ...v1alpha1.PortRange) *MVMBuilder {
	i := &b.mvm.Spec.Capture.Inbound
	i.ExcludePorts = append(i.ExcludePorts, ranges...)
	return b
}

// IncludeCIDRs adds the only outbound networks that pass through the proxy.
func (b *MVMBuilder) IncludeCIDRs(networks ...string) *MVMBuilder {
	o := &b.mvm.Spec.Capture.Outbound
	o.IncludeCIDRs = append(o.IncludeCIDRs, networks...)
	return b
}

// OnChange sets the handling of established flows that a change affects.
func (b *MVMBuilder) OnChange(p v1alpha1.ChangePolicy) *MVMBuilder {
	b.mvm.Spec.Capture.OnChange = p
	return b
}

// DNS sets the handling of the guest's DNS queries.
func (b *MVMBuilder) DNS(d v1alpha1.DNSPolicy) *MVMBuilder {
	b.mvm.Spec.Capture.DNS = d
	return b
}

// Unmeshed sets the handling of traffic that the mesh cannot carry.
func (b *MVMBuilder) Unmeshed(u v1alpha1.UnmeshedPolicy) *MVMBuilder {
	b.mvm.Spec.Capture.Unmeshed = u
	return b
}

// ExcludeCIDRs adds outbound networks that bypass the proxy.
func (b *MVMBuilder) ExcludeCIDRs(networks ...string) *MVMBuilder {
	o := &b.mvm.Spec.Capture.Outbound
	o.ExcludeCIDRs = append(o.ExcludeCIDRs, networks...)
	return b
}

// Interface adds an interface and its network with the name of the interface.
func (b *MVMBuilder) Interface(iface kubevirtv1.Interface, source kubevirtv1.NetworkSource) *MVMBuilder {
	spec := &b.mvm.Spec.VirtualMachine.Template.Spec
	spec.Domain.Devices.Interfaces = append(spec.Domain.Devices.Interfaces, iface)
	spec.Networks = append(spec.Networks, kubevirtv1.Network{Name: iface.Name, NetworkSource: source})
	return b
}

// TemplateLabel sets a label of the guest.
func (b *MVMBuilder) TemplateLabel(key, value string) *MVMBuilder {
	m := &b.mvm.Spec.VirtualMachine.Template.ObjectMeta
	m.Labels = with(m.Labels, key, value)
	return b
}

// TemplateAnnotation sets an annotation of the guest.
func (b *MVMBuilder) TemplateAnnotation(key, value string) *MVMBuilder {
	m := &b.mvm.Spec.VirtualMachine.Template.ObjectMeta
	m.Annotations = with(m.Annotations, key, value)
	return b
}

// VM applies any other change to the spec of the VirtualMachine.
func (b *MVMBuilder) VM(change func(*kubevirtv1.VirtualMachineSpec)) *MVMBuilder {
	change(&b.mvm.Spec.VirtualMachine)
	return b
}

// HTTP returns a port that the mesh handles as HTTP.
func HTTP(name string, port, target int32) v1alpha1.Port {
	return v1alpha1.Port{Name: name, Port: port, TargetPort: target, AppProtocol: "http"}
}

// TCP returns a port that the mesh handles as TCP.
func TCP(name string, port int32) v1alpha1.Port { return v1alpha1.Port{Name: name, Port: port} }

// TLS returns a port whose TLS the guest terminates.
func TLS(name string, port, target int32) v1alpha1.Port {
	return v1alpha1.Port{Name: name, Port: port, TargetPort: target, AppProtocol: "tls"}
}

// Direct returns a TCP port via Direct.
func Direct(name string, port int32) v1alpha1.Port {
	return v1alpha1.Port{Name: name, Port: port, Via: v1alpha1.PortViaDirect}
}

// UDP returns a UDP port.
func UDP(name string, port int32) v1alpha1.Port {
	return v1alpha1.Port{Name: name, Port: port, Protocol: v1alpha1.PortProtocolUDP}
}

// Masquerade returns an interface with the masquerade binding.
func Masquerade(name string, ports ...kubevirtv1.Port) kubevirtv1.Interface {
	return kubevirtv1.Interface{
		Name:                   name,
		InterfaceBindingMethod: kubevirtv1.InterfaceBindingMethod{Masquerade: &kubevirtv1.InterfaceMasquerade{}},
		Ports:                  ports,
	}
}

// Bridge returns an interface with the bridge binding.
func Bridge(name string) kubevirtv1.Interface {
	return kubevirtv1.Interface{
		Name:                   name,
		InterfaceBindingMethod: kubevirtv1.InterfaceBindingMethod{Bridge: &kubevirtv1.InterfaceBridge{}},
	}
}

// PodNetwork returns the pod network. If cidr is empty, it uses KubeVirt's
// default network for the guest.
func PodNetwork(cidr string) kubevirtv1.NetworkSource {
	return kubevirtv1.NetworkSource{Pod: &kubevirtv1.PodNetwork{VMNetworkCIDR: cidr}}
}

// MultusNetwork returns a secondary network.
func MultusNetwork(name string) kubevirtv1.NetworkSource {
	return kubevirtv1.NetworkSource{Multus: &kubevirtv1.MultusNetwork{NetworkName: name}}
}

func with(m map[string]string, key, value string) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[key] = value
	return m
}

func conditionStatus(b bool) corev1.ConditionStatus {
	if b {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}
