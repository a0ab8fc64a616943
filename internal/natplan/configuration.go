// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/validate"
)

const (
	// defaultPodInterface is the pod's primary interface unless the status of
	// the VMI contains another one (KubeVirt, pkg/network/namescheme).
	defaultPodInterface = "eth0"
	// hashedPrefix is the prefix of interfaces that KubeVirt names by a hash.
	// The name of the bridge omits it (KubeVirt, pkg/network/link/names.go).
	hashedPrefix = "pod"
	bridgePrefix = "k6t-"
	// multusStatus is the annotation in which Multus reports the networks of a
	// pod (Network Plumbing Working Group, NetworkAttachmentDefinition, 5.4).
	multusStatus = "k8s.v1.cni.cncf.io/network-status"
)

// ErrIncompleteFacts means that the pod or the VMI does not exist yet.
var ErrIncompleteFacts = errors.New("waiting for the virt-launcher pod and its VirtualMachineInstance")

// Facts are the observed objects of one live virt-launcher pod.
type Facts struct {
	// Pod is the virt-launcher pod.
	Pod *corev1.Pod
	// VMI is the VirtualMachineInstance that runs in the pod.
	VMI *kubevirtv1.VirtualMachineInstance
}

// ConfigurationSpec returns the spec of a pod's PodNATConfiguration. Ports and
// exclusions are from the MeshedVirtualMachine. Names and addresses are from the
// running VMI, which keeps them until it is restarted. It returns ErrNoPodAddress
// until the pod has an address, because the address families depend on it.
func ConfigurationSpec(mvm *v1alpha1.MeshedVirtualMachine, f Facts) (v1alpha1.PodNATConfigurationSpec, error) {
	spec, err := podPart(mvm, f)
	if err != nil {
		return spec, err
	}
	outbound, err := normalizeOutbound(v1alpha1.OutboundRules(mvm.Spec.Capture.Outbound), field.NewPath("spec", "capture", "outbound"))
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

// ConfigurationWithRulesOf returns the spec of a pod's PodNATConfiguration with
// the ports and exclusions of another PodNATConfiguration. The operator uses it
// while the spec of the MeshedVirtualMachine is rejected. Errors are as for
// ConfigurationSpec.
func ConfigurationWithRulesOf(other v1alpha1.PodNATConfigurationSpec, mvm *v1alpha1.MeshedVirtualMachine, f Facts) (v1alpha1.PodNATConfigurationSpec, error) {
	spec, err := podPart(mvm, f)
	if err != nil {
		return spec, err
	}
	other = *other.DeepCopy()
	spec.Inbound, spec.Outbound, spec.Unmeshed = other.Inbound, other.Outbound, other.Unmeshed
	spec.DNS, spec.OnChange = other.DNS, other.OnChange
	return spec, nil
}

// podPart returns the fields that depend on the pod and on its running guest.
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
			InboundPort:  validate.ProxyInboundPort,
			OutboundPort: validate.ProxyOutboundPort,
			LocalPorts:   slices.Clone(validate.ProxyLocalPorts),
			DNSPort:      dnsPort(f.Pod),
		},
		ProbedPorts: validate.ProbedPorts(&f.VMI.Spec),
		Gate:        gatePorts(f.Pod),
	}
	setDataPlane(&spec, f.Pod)
	return spec, nil
}

// checkPod rejects pods of other guests. Rules are never written across
// namespaces.
func checkPod(mvm *v1alpha1.MeshedVirtualMachine, f Facts) error {
	path := field.NewPath("spec", "pod")
	switch {
	case f.Pod.Namespace != mvm.Namespace || f.VMI.Namespace != mvm.Namespace:
		return validate.Invalidf(v1alpha1.ReasonNotALauncherPod, path, "the pod is not in the namespace of the MeshedVirtualMachine")
	case !launcherpod.IsLauncher(f.Pod):
		return validate.Invalidf(v1alpha1.ReasonNotALauncherPod, path, "the pod is not a virt-launcher pod")
	case launcherpod.ControllingGuest(f.Pod) != f.VMI.UID:
		return validate.Invalidf(v1alpha1.ReasonNotALauncherPod, path, "the pod belongs to another VirtualMachineInstance")
	default:
		return nil
	}
}

// derive returns the interfaces of the pod, and the guest's addresses.
func derive(f Facts) (v1alpha1.PodInterfaces, []v1alpha1.AddressFamily, error) {
	var interfaces v1alpha1.PodInterfaces
	path := field.NewPath("spec")
	primary, err := validate.PrimaryInterface(&f.VMI.Spec, path)
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

// podInterface returns the name of the pod's interface for the guest's primary
// interface: from the status of the VMI, or, until KubeVirt has set it, from the
// pod's default network as reported by Multus, which is where KubeVirt reads it
// (KubeVirt, pkg/network/multus/status.go).
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

// inboundRules sorts the ports of a spec by protocol and by whether they pass the proxy.
func inboundRules(ports []v1alpha1.Port, excluded []v1alpha1.PortRange) v1alpha1.InboundRules {
	in := v1alpha1.InboundRules{ExcludePorts: normalizeRanges(excluded)}
	for _, p := range ports {
		switch {
		case p.ProtocolOrDefault() == v1alpha1.PortProtocolUDP:
			in.DirectUDP = append(in.DirectUDP, p.TargetPortOrDefault())
		case p.ViaOrDefault() == v1alpha1.PortViaDirect:
			in.DirectTCP = append(in.DirectTCP, p.TargetPortOrDefault())
		default:
			in.Mesh = append(in.Mesh, p.TargetPortOrDefault())
		}
	}
	for _, list := range []*[]int32{&in.Mesh, &in.DirectTCP, &in.DirectUDP} {
		slices.Sort(*list)
		*list = slices.Compact(*list) // Several ports of the Service can lead to one port of the guest.
	}
	return in
}

// normalizeOutbound sorts the lists and removes entries that another entry
// contains.
func normalizeOutbound(o v1alpha1.OutboundRules, path *field.Path) (v1alpha1.OutboundRules, error) {
	e := &validate.Errors{}
	e.Outbound(o, path)
	if err := e.Join(); err != nil {
		return v1alpha1.OutboundRules{}, err
	}
	excluded, err := normalizeCIDRs(o.ExcludeCIDRs)
	if err != nil {
		return v1alpha1.OutboundRules{}, err
	}
	included, err := normalizeCIDRs(o.IncludeCIDRs)
	return v1alpha1.OutboundRules{ExcludePorts: normalizeRanges(o.ExcludePorts), ExcludeCIDRs: excluded, IncludeCIDRs: included}, err
}
