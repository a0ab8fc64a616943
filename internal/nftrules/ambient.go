// SPDX-License-Identifier: Apache-2.0

package nftrules

import "meshvm.io/meshvm/internal/ruleio"

// Marks of Istio's ambient mode (Istio, cni/pkg/config): ztunnel's sockets carry
// markZtunnel, and a routing rule sends packets that carry markToZtunnel to the
// pod's own sockets. Both are the lower twelve bits of a mark.
const (
	maskIstio     = 0xfff
	markZtunnel   = 0x539
	markToZtunnel = 0x111
)

// MarkFromProxy is the bit in the mark of a tracked connection that says that
// ztunnel opened the connection to the guest. It is outside the bits that Istio uses: Istio
// sends everything that leaves the pod under its own mark back into it, even
// what is meant for the guest.
const MarkFromProxy uint32 = 0x100000

// priorityMark is just before Istio's -150, and never equal to it: among chains
// of equal priority the one registered last runs first. It is after connection
// tracking (-200) and before all translation.
const priorityMark = -160

// Names of the chains that mark.
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

// redirectedTotal is where inbound connections count that are redirected to the
// proxy. In ambient mode most come through a tunnel that carries many, so that
// all of them count where ztunnel opens them to the guest.
func (b *builder) redirectedTotal() Total {
	if b.ambient() {
		return ""
	}
	return TotalCaptured
}

// fromKubelet are the rules for the kubelet's probes, which in ambient mode have
// a source of their own and go past the proxy.
func (b *builder) fromKubelet(s stack, f ruleio.Family) []Rule {
	if !b.ambient() {
		return nil
	}
	from := []Match{{Field: FieldInputInterface, Value: b.plan.PodInterface}, {Field: s.source, Value: s.probes}}
	return b.keep(
		Rule{
			Matches:   append(from[:2:2], lookup(FieldTCPDestinationPort, SetExposedTCP)),
			Statement: Statement{Kind: StatementDNAT, Address: f.Guest},
			Comment:   "N6: the kubelet's probes of exposed ports go to the guest past the proxy",
			Repairs:   []Repair{RepairAmbient},
		},
		Rule{
			Matches:   append(from[:2:2], tcp),
			Statement: s.keep(),
			Comment:   "closed: the kubelet's other probes stay in the pod",
			Repairs:   []Repair{RepairClosedPorts},
		},
	)
}

// probesForwarded lets the kubelet's probes of mesh ports through.
func (b *builder) probesForwarded(s stack, _ ruleio.Family) []Rule {
	if !b.ambient() {
		return nil
	}
	return b.keep(Rule{
		Matches:   append(b.inwards(), Match{Field: s.source, Value: s.probes}, lookup(FieldTCPDestinationPort, SetExposedTCP)),
		Statement: Statement{Kind: StatementAccept},
		Comment:   "N6: the kubelet's probes of exposed ports reach the guest",
		Repairs:   []Repair{RepairAmbient},
	})
}

// markChains bring the guest's answers back to ztunnel. It connects to the guest
// from the client's own address, so that without them the answers would leave
// the pod for the client.
func (b *builder) markChains() []Chain {
	if !b.ambient() {
		return nil
	}
	chain := func(name string, h Hook, r Rule) Chain {
		return Chain{Name: name, Type: "filter", Hook: h, Priority: priorityMark, Policy: "accept", Rules: b.keep(r)}
	}
	return []Chain{
		chain(chainMarkPostrouting, HookPostrouting, Rule{
			Matches: []Match{
				{Field: FieldOutputInterface, Value: b.plan.Bridge},
				isNew,
				{Field: FieldPacketMark, Mask: markText(maskIstio), Value: markText(markZtunnel)},
			},
			Statement: Statement{Kind: StatementConntrackMark, Mark: MarkFromProxy},
			Total:     TotalCaptured,
			Comment:   "N6: connections that the proxy opens to the guest are remembered",
			Repairs:   []Repair{RepairAmbient},
		}),
		chain(chainMarkPrerouting, HookPrerouting, Rule{
			Matches: []Match{
				{Field: FieldInputInterface, Value: b.plan.Bridge},
				{Field: FieldConntrackMark, Mask: markText(MarkFromProxy), Value: markText(MarkFromProxy)},
			},
			Statement: Statement{Kind: StatementMark, Mark: markToZtunnel},
			Comment:   "N6: the guest's answers on them go to the proxy, not to the client",
			Repairs:   []Repair{RepairAmbient},
		}),
	}
}
