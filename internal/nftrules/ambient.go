// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// Marks of Istio's ambient mode (Istio, cni/pkg/config). ztunnel's sockets have
// markZtunnel. A routing rule sends packets with markToZtunnel to the pod's
// local sockets. Both are the lower twelve bits of a mark.
const (
	maskIstio     = 0xfff
	markZtunnel   = 0x539
	markToZtunnel = 0x111
)

// MarkFromProxy is the bit in the connection mark of connections that ztunnel
// opens to the guest. Istio does not use this bit. Istio redirects all packets
// with its marks back into the pod, including packets for the guest.
const MarkFromProxy uint32 = 0x100000

// priorityMark is just before Istio's priority -150 and never equal to it,
// because chains of equal priority run in an order that depends on
// registration. It is after connection tracking (-200) and before all
// translations.
const priorityMark = -160

// Names of the chains that set marks.
const (
	chainMarkPrerouting  = "mark_prerouting"
	chainMarkPostrouting = "mark_postrouting"
)

func (b *builder) ambient() bool { return b.plan.DataPlane == ruleio.DataPlaneAmbient }

func checkDataPlane(d ruleio.DataPlane) error {
	switch d {
	case "", ruleio.DataPlaneSidecar, ruleio.DataPlaneAmbient:
		return nil
	default:
		return invalid("plan.dataPlane", "%q is not known", d)
	}
}

// redirectedTotal is the total of inbound connections that are redirected to
// the proxy. In ambient mode, most of them arrive in a shared tunnel, so they
// are counted when ztunnel opens them to the guest.
func (b *builder) redirectedTotal() Total {
	if b.ambient() {
		return ""
	}
	return TotalCaptured
}

// fromKubelet returns the rules for the kubelet's probes. In ambient mode,
// probes have a dedicated source address and bypass the proxy.
func (b *builder) fromKubelet(s stack, f ruleio.Family) []Rule {
	if !b.ambient() {
		return nil
	}
	from := []nft.Match{{Field: nft.FieldInputInterface, Value: b.plan.PodInterface}, {Field: s.source, Value: s.probes}}
	return b.keep(
		Rule{
			Matches:   append(from[:2:2], lookup(nft.FieldTCPDestinationPort, SetExposedTCP)),
			Statement: nft.Statement{Kind: nft.StatementDNAT, Address: f.Guest},
			Comment:   "N6: the kubelet's probes of exposed ports reach the guest directly",
			Defects:   []Defect{DefectAmbient},
		},
		Rule{
			Matches:   append(from[:2:2], tcp),
			Statement: s.keep(),
			Comment:   "closed: the kubelet's other probes stay in the pod",
			Defects:   []Defect{DefectClosedPorts},
		},
	)
}

// probesForwarded accepts the kubelet's probes of mesh ports.
func (b *builder) probesForwarded(s stack, _ ruleio.Family) []Rule {
	if !b.ambient() {
		return nil
	}
	return b.keep(Rule{
		Matches:   append(b.inwards(), nft.Match{Field: s.source, Value: s.probes}, lookup(nft.FieldTCPDestinationPort, SetExposedTCP)),
		Statement: nft.Statement{Kind: nft.StatementAccept},
		Comment:   "N6: the kubelet's probes of exposed ports reach the guest",
		Defects:   []Defect{DefectAmbient},
	})
}

// markChains returns the chains that route the guest's answers back to ztunnel.
// ztunnel connects to the guest with the address of the client. Without these
// chains, the answers would be sent to the client.
func (b *builder) markChains() {
	if !b.ambient() {
		return
	}
	b.filterChain(chainMarkPostrouting, nft.HookPostrouting, priorityMark, b.keep(Rule{
		Matches: []nft.Match{
			{Field: nft.FieldOutputInterface, Value: b.plan.Bridge},
			isNew,
			{Field: nft.FieldPacketMark, Mask: nft.MarkText(maskIstio), Value: nft.MarkText(markZtunnel)},
		},
		Statement: nft.Statement{Kind: nft.StatementConntrackMark, Mark: MarkFromProxy},
		Total:     TotalCaptured,
		Comment:   "N6: mark connections that the proxy opens to the guest",
		Defects:   []Defect{DefectAmbient},
	}))
	b.filterChain(chainMarkPrerouting, nft.HookPrerouting, priorityMark, b.keep(Rule{
		Matches: []nft.Match{
			{Field: nft.FieldInputInterface, Value: b.plan.Bridge},
			{Field: nft.FieldConntrackMark, Mask: nft.MarkText(MarkFromProxy), Value: nft.MarkText(MarkFromProxy)},
		},
		Statement: nft.Statement{Kind: nft.StatementMark, Mark: markToZtunnel},
		Comment:   "N6: deliver the guest's replies to the proxy, not to the client",
		Defects:   []Defect{DefectAmbient},
	}))
}
