// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/ruleio"
)

const (
	// defaultPodInterface is the pod's primary interface unless the VMI's
	// status reports otherwise (KubeVirt, pkg/network/namescheme).
	defaultPodInterface = "eth0"
	// hashedPrefix starts the names of interfaces that KubeVirt names by
	// hash, and is left out of the bridge's name (KubeVirt,
	// pkg/network/link/names.go).
	hashedPrefix = "pod"
	bridgePrefix = "k6t-"
	launcherApp  = "virt-launcher"
	// multusStatus is the annotation in which Multus shows of a pod's networks
	// (Network Plumbing Working Group, NetworkAttachmentDefinition, 5.4).
	multusStatus = "k8s.v1.cni.cncf.io/network-status"
)

// ErrIncompleteFacts means that the pod or the VMI is not known yet.
var ErrIncompleteFacts = errors.New("the virt-launcher pod or its VirtualMachineInstance is not known yet")

// Facts are what is known of one live virt-launcher pod.
type Facts struct {
	// Pod is the virt-launcher pod.
	Pod *corev1.Pod
	// VMI is the VirtualMachineInstance that the pod runs.
	VMI *kubevirtv1.VirtualMachineInstance
}

// ConfigurationSpec derives the NAT configuration of one pod. Ports and
// exclusions are those of the MeshedVirtualMachine; names and addresses are
// those of the running VMI, which keeps them until it is restarted. The families
// are known with the pod's addresses: until then it fails with ErrNoPodAddress.
func ConfigurationSpec(mvm *v1alpha1.MeshedVirtualMachine, f Facts) (v1alpha1.PodNATConfigurationSpec, error) {
	spec, err := podPart(mvm, f)
	if err != nil {
		return spec, err
	}
	outbound, err := normaliseOutbound(v1alpha1.OutboundRules(mvm.Spec.Capture.Outbound), field.NewPath("spec", "capture", "outbound"))
	if err != nil {
		return v1alpha1.PodNATConfigurationSpec{}, err
	}
	spec.Inbound = inboundRules(mvm.Spec.Ports, mvm.Spec.Capture.Inbound.ExcludePorts)
	spec.Outbound = outbound
	spec.Unmeshed = mvm.Spec.Capture.Unmeshed
	spec.DNS = mvm.Spec.Capture.DNS
	spec.OnChange = mvm.Spec.Capture.OnChange
	return spec, nil
}

// ConfigurationLike derives the NAT configuration of one pod with the ports and
// exclusions of another configuration instead of the MeshedVirtualMachine's,
// whose spec may be one that was refused. Errors are those of ConfigurationSpec.
func ConfigurationLike(other v1alpha1.PodNATConfigurationSpec, mvm *v1alpha1.MeshedVirtualMachine, f Facts) (v1alpha1.PodNATConfigurationSpec, error) {
	spec, err := podPart(mvm, f)
	if err != nil {
		return spec, err
	}
	other = *other.DeepCopy()
	spec.Inbound, spec.Outbound, spec.Unmeshed = other.Inbound, other.Outbound, other.Unmeshed
	spec.DNS, spec.OnChange = other.DNS, other.OnChange
	return spec, nil
}

// podPart is what follows from the pod and the guest that it runs.
func podPart(mvm *v1alpha1.MeshedVirtualMachine, f Facts) (v1alpha1.PodNATConfigurationSpec, error) {
	var none v1alpha1.PodNATConfigurationSpec
	if mvm == nil || f.Pod == nil || f.VMI == nil {
		return none, ErrIncompleteFacts
	}
	if err := checkPod(mvm, f); err != nil {
		return none, err
	}
	interfaces, families, err := derive(f)
	if err != nil {
		return none, err
	}
	spec := v1alpha1.PodNATConfigurationSpec{
		Pod:        v1alpha1.PodTarget{Name: f.Pod.Name, UID: f.Pod.UID},
		Interfaces: interfaces,
		Families:   families,
		Proxy: v1alpha1.ProxyPorts{
			InboundPort:  ProxyInboundPort,
			OutboundPort: ProxyOutboundPort,
			LocalPorts:   slices.Clone(ProxyLocalPorts),
			DNSPort:      dnsPort(f.Pod),
		},
		ProbedPorts: probedPorts(&f.VMI.Spec),
		Gate:        gatePorts(f.Pod),
	}
	setDataPlane(&spec, f.Pod)
	return spec, nil
}

// checkPod refuses pods that are not the guest's own: the namespace is the
// boundary that no rules may cross.
func checkPod(mvm *v1alpha1.MeshedVirtualMachine, f Facts) error {
	switch {
	case f.Pod.Namespace != mvm.Namespace || f.VMI.Namespace != mvm.Namespace:
		return invalidf(v1alpha1.ReasonNotALauncherPod, "spec.pod", "the pod is not in the namespace of the MeshedVirtualMachine")
	case !launcherpod.HasLabel(f.Pod):
		return invalidf(v1alpha1.ReasonNotALauncherPod, "spec.pod", "the pod is not a virt-launcher pod")
	case launcherpod.CreatedBy(f.Pod) != f.VMI.UID:
		return invalidf(v1alpha1.ReasonNotALauncherPod, "spec.pod", "the pod runs another VirtualMachineInstance")
	default:
		return nil
	}
}

func derive(f Facts) (v1alpha1.PodInterfaces, []v1alpha1.AddressFamily, error) {
	var interfaces v1alpha1.PodInterfaces
	path := field.NewPath("spec")
	primary, err := PrimaryInterface(&f.VMI.Spec, path)
	if err != nil {
		return interfaces, nil, err
	}
	name, network := "", (*kubevirtv1.Network)(nil)
	if !primary.Implicit {
		network = &f.VMI.Spec.Networks[primary.Network]
		name = network.Name
	}
	addresses, err := meshFamilies(f.Pod, network, path.Child("networks").Index(primary.Network))
	if err != nil {
		return interfaces, nil, err
	}
	interfaces.Pod = podInterface(f, name)
	interfaces.Bridge = bridgePrefix + strings.TrimPrefix(interfaces.Pod, hashedPrefix)
	return interfaces, addresses, nil
}

// podInterface is the pod's interface behind the guest's primary one: what the
// VMI's status reports, and until it reports something, what KubeVirt will take it
// from: the pod's default network as Multus reports it (KubeVirt,
// pkg/network/multus/status.go).
func podInterface(f Facts, network string) string {
	for _, i := range f.VMI.Status.Interfaces {
		if i.Name == network && network != "" && i.PodInterfaceName != "" {
			return i.PodInterfaceName
		}
	}
	var reported []struct {
		Interface string `json:"interface"`
		Default   bool   `json:"default"`
	}
	if json.Unmarshal([]byte(f.Pod.Annotations[multusStatus]), &reported) == nil {
		for _, r := range reported {
			if r.Default && r.Interface != "" {
				return r.Interface
			}
		}
	}
	return defaultPodInterface
}

func inboundRules(ports []v1alpha1.Port, excluded []v1alpha1.PortRange) v1alpha1.InboundRules {
	in := v1alpha1.InboundRules{ExcludePorts: normaliseRanges(excluded)}
	for _, p := range ports {
		switch {
		case p.ProtocolOrDefault() == v1alpha1.PortProtocolUDP:
			in.DirectUDP = append(in.DirectUDP, p.TargetPortOrDefault())
		case p.RouteOrDefault() == v1alpha1.PortRouteDirect:
			in.DirectTCP = append(in.DirectTCP, p.TargetPortOrDefault())
		default:
			in.Mesh = append(in.Mesh, p.TargetPortOrDefault())
		}
	}
	for _, list := range [][]int32{in.Mesh, in.DirectTCP, in.DirectUDP} {
		slices.Sort(list)
	}
	return in
}

// normaliseOutbound sorts the lists and leaves out what another entry covers.
func normaliseOutbound(o v1alpha1.OutboundRules, path *field.Path) (v1alpha1.OutboundRules, error) {
	c := &checker{}
	c.outbound(v1alpha1.OutboundCapture(o), path)
	if err := errors.Join(c.errs...); err != nil {
		return v1alpha1.OutboundRules{}, err
	}
	excluded, err := normaliseCIDRs(o.ExcludeCIDRs)
	if err != nil {
		return v1alpha1.OutboundRules{}, err
	}
	included, err := normaliseCIDRs(o.IncludeCIDRs)
	return v1alpha1.OutboundRules{ExcludePorts: normaliseRanges(o.ExcludePorts), ExcludeCIDRs: excluded, IncludeCIDRs: included}, err
}

func normaliseCIDRs(cidrs []string) ([]string, error) {
	networks := make([]netip.Prefix, 0, len(cidrs))
	for _, s := range cidrs {
		n, err := parseCIDR(s)
		if err != nil {
			return nil, err
		}
		networks = append(networks, n)
	}
	return withoutNested(networks), nil
}

// normaliseRanges puts TCP before UDP, sorts, joins what overlaps, and leaves
// out what is so by default.
func normaliseRanges(ranges []v1alpha1.PortRange) []v1alpha1.PortRange {
	var out []v1alpha1.PortRange
	for _, protocol := range []v1alpha1.PortProtocol{v1alpha1.PortProtocolTCP, v1alpha1.PortProtocolUDP} {
		for _, r := range rangesOf(ranges, protocol) {
			one := v1alpha1.PortRange{Port: int32(r.First)}
			if r.Last != r.First {
				one.EndPort = int32(r.Last)
			}
			if protocol != v1alpha1.PortProtocolTCP {
				one.Protocol = protocol
			}
			out = append(out, one)
		}
	}
	return out
}

// rangesOf are the ranges of a protocol, ascending, joined where they overlap,
// and without what is none.
func rangesOf(ranges []v1alpha1.PortRange, protocol v1alpha1.PortProtocol) []ruleio.PortRange {
	var out []ruleio.PortRange
	for _, r := range ranges {
		if last := r.EndPortOrDefault(); r.ProtocolOrDefault() == protocol && r.Port >= 1 && last <= maxPort && r.Port <= last {
			out = append(out, ruleio.PortRange{First: uint16(r.Port), Last: uint16(last)}) //nolint:gosec // Within 1 to 65535.
		}
	}
	return ruleio.Union(out)
}
