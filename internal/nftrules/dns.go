// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"slices"
	"strconv"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// priorityRaw is just before Istio's raw rules, which assign conntrack zones.
const priorityRaw = -310

// chainRaw is the name of the chain that assigns conntrack zones.
const chainRaw = "raw"

// Conntrack zones of Istio's DNS capture (Istio,
// tools/istio-iptables/pkg/capture): for answers from outside, and for traffic
// between clients and the proxy's resolver.
const (
	zoneUpstream = 1
	zoneResolver = 2
)

// dnsZones returns the rules that assign the guest's queries to the zone in
// which Istio expects their answers. DNS over TCP does not use zones.
func (b *builder) dnsZones(s stack, _ ruleio.Family) []Rule {
	d := b.plan.DNS
	if d == nil || d.CapturePort == 0 {
		return nil
	}
	r := Rule{
		Matches:   s.matches(nft.Match{Field: nft.FieldInputInterface, Value: b.plan.Bridge}, dnsPort(nft.FieldUDPDestinationPort)),
		Statement: nft.Statement{Kind: nft.StatementZone, Zone: zoneUpstream},
		Comment:   "N4: track the guest's queries in the zone of answers from outside",
		Defects:   []Defect{DefectDNS},
	}
	if d.Mode == ruleio.DNSProxy && s.answersLoopback {
		if b.ambient() {
			// Answers of ztunnel's resolver do not have a separate zone (Istio,
			// cni/pkg/iptables).
			return nil
		}
		r.Statement.Zone = zoneResolver
		r.Comment = "N4: track the guest's queries in the zone of the proxy's resolver"
	}
	return b.keep(r)
}

// dnsFromGuest returns the rules for the guest's queries, which precede all
// other rules.
func (b *builder) dnsFromGuest(s stack, _ ruleio.Family) []Rule {
	in := nft.Match{Field: nft.FieldInputInterface, Value: b.plan.Bridge}
	switch d := b.plan.DNS; {
	case d == nil:
		return nil
	case d.Mode == ruleio.DNSProxy && s.answersLoopback:
		// The resolver listens on loopback. A redirect statement would
		// translate to the address of the bridge.
		resolver := nft.Statement{Kind: nft.StatementDNAT, Address: s.loopback, Port: d.CapturePort}
		return b.keep(
			Rule{
				Matches: s.matches(in, dnsPort(nft.FieldUDPDestinationPort)), Statement: resolver, Total: TotalCaptured,
				Comment: "N4: send the guest's DNS to the proxy's resolver", Defects: []Defect{DefectDNS},
			},
			Rule{
				Matches: s.matches(in, dnsPort(nft.FieldTCPDestinationPort)), Statement: resolver, Total: TotalCaptured,
				Comment: "N4: send the guest's DNS over TCP to the proxy's resolver", Defects: []Defect{DefectDNS},
			},
		)
	default:
		return b.keep(Rule{
			Matches:   s.matches(in, slices.Concat(s.notLocalhost, []nft.Match{dnsPort(nft.FieldTCPDestinationPort)})...),
			Statement: s.keep(),
			Total:     TotalDirect,
			Comment:   "the guest's DNS over TCP bypasses the proxy",
		})
	}
}

// unmeshedDNS drops queries for the proxy's resolver that cannot reach it,
// because it listens on loopback.
func (b *builder) unmeshedDNS() []Rule {
	if b.plan.DNS == nil || b.plan.DNS.Mode != ruleio.DNSProxy {
		return nil
	}
	var out []Rule
	for _, f := range b.plan.Families {
		s := stackOf(f)
		if s.answersLoopback {
			continue
		}
		for _, port := range []nft.Field{nft.FieldUDPDestinationPort, nft.FieldTCPDestinationPort} {
			out = append(out, Rule{
				Matches:   append(b.outwards(), s.is, dnsPort(port)),
				Statement: drop,
				Comment:   "unmeshed: drop DNS over " + s.title + " from guest: cannot reach the proxy's resolver",
			})
		}
	}
	return out
}

func dnsPort(f nft.Field) nft.Match { return nft.Match{Field: f, Value: strconv.Itoa(portDNS)} }
