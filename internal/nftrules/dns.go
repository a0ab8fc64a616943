package nftrules

import (
	"strconv"

	"meshvm.io/meshvm/internal/ruleio"
)

// priorityRaw is just before Istio's raw rules, which set conntrack zones.
const priorityRaw = -310

// chainRaw is the name of the chain that sets conntrack zones.
const chainRaw = "raw"

// Conntrack zones of Istio's DNS capture (Istio,
// tools/istio-iptables/pkg/capture): answers that come from outside, and the
// way between those who ask and the proxy's resolver.
const (
	zoneUpstream = 1
	zoneResolver = 2
)

// dnsZones are the rules that put the guest's queries into the zone where Istio
// looks for their answers. DNS over TCP has no zones.
func (b *builder) dnsZones() []Rule {
	d := b.plan.DNS
	if d == nil || d.CapturePort == 0 {
		return nil
	}
	r := Rule{
		Matches:   []Match{{Field: FieldInputInterface, Value: b.plan.Bridge}, ipv4, dnsPort(FieldUDPDestinationPort)},
		Statement: Statement{Kind: StatementZone, Zone: zoneUpstream},
		Comment:   "N4: guest's queries are tracked where Istio puts the answers from outside",
		Repairs:   []Repair{RepairDNS},
	}
	if d.Mode == ruleio.DNSProxy {
		r.Statement.Zone = zoneResolver
		r.Comment = "N4: guest's queries are tracked where Istio puts the answers of the proxy's resolver"
	}
	return b.keep(r)
}

// dnsFromGuest are the rules for the guest's queries, before all others.
func (b *builder) dnsFromGuest() []Rule {
	in := Match{Field: FieldInputInterface, Value: b.plan.Bridge}
	switch d := b.plan.DNS; {
	case d == nil:
		return nil
	case d.Mode == ruleio.DNSProxy:
		// The resolver listens on loopback, so a mere redirect, which goes
		// to the bridge's address, would miss it.
		resolver := Statement{Kind: StatementDNAT, Address: "127.0.0.1", Port: d.CapturePort}
		return b.keep(
			Rule{
				Matches: []Match{in, ipv4, dnsPort(FieldUDPDestinationPort)}, Statement: resolver, Total: TotalCaptured,
				Comment: "N4: guest's DNS goes to the proxy's resolver", Repairs: []Repair{RepairDNS},
			},
			Rule{
				Matches: []Match{in, ipv4, dnsPort(FieldTCPDestinationPort)}, Statement: resolver, Total: TotalCaptured,
				Comment: "N4: guest's DNS over TCP goes to the proxy's resolver", Repairs: []Repair{RepairDNS},
			},
		)
	default:
		notLoopback := Match{Field: FieldDestinationAddress, Not: true, Value: loopback}
		return b.keep(Rule{
			Matches:   []Match{in, notLoopback, dnsPort(FieldTCPDestinationPort)},
			Statement: Statement{Kind: StatementKeep},
			Total:     TotalDirect,
			Comment:   "guest's DNS over TCP goes past the proxy",
		})
	}
}

func dnsPort(f Field) Match { return Match{Field: f, Value: strconv.Itoa(portDNS)} }
