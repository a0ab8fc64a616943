// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"errors"
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/validate"
)

// ErrNoPodAddress means that the pod does not have an address yet.
var ErrNoPodAddress = errors.New("waiting for the pod to have an address")

// interfaceShape is the pattern in the CRD. IFNAMSIZ limits names to 15
// characters.
var interfaceShape = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,15}$`)

// Plan returns the plan for the rule-writer: validated, sorted and without
// duplicates. It rejects specs that would disconnect the pod from the mesh by
// redirecting a port of the proxy, and specs that would close a port that the
// kubelet probes.
func Plan(spec v1alpha1.PodNATConfigurationSpec, podIPs []string) (*ruleio.NATPlan, error) {
	path := field.NewPath("spec")
	e := &validate.Errors{}
	checkInterfaces(e, spec.Interfaces, path.Child("interfaces"))
	checkProxy(e, spec.Proxy, spec.DataPlane, path.Child("proxy"))
	checkInbound(e, spec, path.Child("inbound"))
	e.InboundRanges(spec.Inbound.ExcludePorts, slices.Concat(spec.Inbound.Mesh, spec.Proxy.LocalPorts), path.Child("inbound", "excludePorts"))
	checkProbedPorts(e, spec, path.Child("probedPorts"))
	e.Unmeshed(spec.Unmeshed, path.Child("unmeshed"))
	outbound, err := normalizeOutbound(spec.Outbound, path.Child("outbound"))
	e.Add(err)
	planned, err := planFamilies(spec.Families, podIPs, path.Child("families"))
	e.Add(err)
	dns, err := planDNS(spec, planned, path)
	e.Add(err)
	gate, err := planGate(spec.Gate, path.Child("gate"))
	e.Add(err)
	if err := e.Join(); err != nil {
		return nil, err
	}
	return &ruleio.NATPlan{
		PodInterface: spec.Interfaces.Pod,
		DataPlane:    dataPlane(spec.DataPlane),
		Bridge:       spec.Interfaces.Bridge,
		Families:     planned,
		Proxy: ruleio.Proxy{
			InboundPort:  uint16(spec.Proxy.InboundPort),  //nolint:gosec // checkProxy has checked the range.
			OutboundPort: uint16(spec.Proxy.OutboundPort), //nolint:gosec // checkProxy has checked the range.
			LocalPorts:   portList(spec.Proxy.LocalPorts),
		},
		Inbound: ruleio.Inbound{
			Mesh:      portList(spec.Inbound.Mesh),
			DirectTCP: directRanges(spec.Inbound.DirectTCP, spec.Inbound.ExcludePorts, v1alpha1.PortProtocolTCP),
			DirectUDP: directRanges(spec.Inbound.DirectUDP, spec.Inbound.ExcludePorts, v1alpha1.PortProtocolUDP),
		},
		Outbound: ruleio.Outbound{
			ExcludePorts: rangesOf(outbound.ExcludePorts, v1alpha1.PortProtocolTCP),
			ExcludeUDP:   rangesOf(outbound.ExcludePorts, v1alpha1.PortProtocolUDP),
			ExcludeCIDRs: outbound.ExcludeCIDRs,
			IncludeCIDRs: outbound.IncludeCIDRs,
		},
		Unmeshed: unmeshed(spec.Unmeshed),
		DNS:      dns,
		Gate:     gate,
	}, nil
}

// unmeshed omits the default, so that equivalent specs result in equal plans.
func unmeshed(u v1alpha1.UnmeshedPolicy) ruleio.Unmeshed {
	if u == v1alpha1.UnmeshedPolicyDrop {
		return ruleio.UnmeshedDrop
	}
	return ""
}
