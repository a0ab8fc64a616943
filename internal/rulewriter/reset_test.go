// SPDX-License-Identifier: Apache-2.0

package rulewriter

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"meshvm.io/meshvm/internal/nfnetlink"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// flows stores tracked flows in memory.
type flows struct {
	list    []nfnetlink.Flow
	deleted []nfnetlink.Flow
	err     error
}

func (f *flows) List() ([]nfnetlink.Flow, error) { return f.list, f.err }

func (f *flows) Delete(list []nfnetlink.Flow) (int, error) {
	f.deleted = append(f.deleted, list...)
	return len(list), f.err
}

// tcpFlow is a flow whose first packet was translated to another destination.
func tcpFlow(source, destination, went string) nfnetlink.Flow {
	from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	return nfnetlink.Flow{
		Original: nfnetlink.Tuple{Protocol: 6, Source: from, Destination: to},
		Reply:    nfnetlink.Tuple{Protocol: 6, Source: netip.MustParseAddrPort(went), Destination: from},
	}
}

func TestReset(t *testing.T) {
	before := plan()
	before.Inbound = ruleio.Inbound{Mesh: []uint16{8080}, DirectTCP: ruleio.Ports(22, 9000)}
	after := plan()
	after.Inbound = ruleio.Inbound{Mesh: []uint16{8080, 9000}, DirectTCP: ruleio.Ports(22)}
	after.Outbound.ExcludePorts = ruleio.Ports(5432)
	older, newer := build(t, *before), build(t, *after)
	toGuest := tcpFlow("10.1.1.1:5", "10.244.0.8:9000", "10.0.2.2:9000")
	captured := tcpFlow("10.0.2.2:6", "203.0.113.9:5432", "10.0.2.1:15001")
	strays := []nfnetlink.Flow{toGuest, captured}
	all := append(unaffected(), strays...)
	for name, tc := range map[string]struct {
		reset bool
		table *nft.Table
		err   error
		want  []nfnetlink.Flow
		ends  ruleio.Outcome
	}{
		"reset": {reset: true, table: &older, want: strays, ends: ruleio.OutcomeApplied},
		"after a rule-writer that exited before the reset": {reset: true, table: &newer, want: strays, ends: ruleio.OutcomeApplied},
		"flows are older than any table":                   {reset: true, want: strays, ends: ruleio.OutcomeApplied},
		"keep":                                             {table: &older, ends: ruleio.OutcomeApplied},
		"flows cannot be listed":                           {reset: true, table: &older, err: errOther, ends: ruleio.OutcomeFailed},
		"without reset":                                    {table: &older, err: errOther, ends: ruleio.OutcomeApplied},
	} {
		t.Run(name, func(t *testing.T) {
			n, f := node{table: tc.table}, &flows{list: slices.Clone(all), err: tc.err}
			d := n.deps()
			d.Flows = f
			r := Run(context.Background(), d, encode(t, target(func(t *ruleio.Target) { t.Plan, t.Reset = after, tc.reset })))
			got := r.Targets[0]
			if got.Outcome != tc.ends || got.ResetFlows != len(tc.want) {
				t.Errorf("ended with %s (%s), %d flows reset", got.Outcome, got.Message, got.ResetFlows)
			}
			same := func(a, b nfnetlink.Flow) bool { return a.Original == b.Original }
			if !slices.EqualFunc(tc.want, f.deleted, same) {
				t.Errorf("deleted %v, want %v", f.deleted, tc.want)
			}
		})
	}
}

// unaffected returns flows that match the new table of TestReset or the rules
// of other programs.
func unaffected() []nfnetlink.Flow {
	return []nfnetlink.Flow{
		tcpFlow("10.1.1.1:1", "10.244.0.8:8080", "10.244.0.8:15006"),
		tcpFlow("10.1.1.1:2", "10.244.0.8:22", "10.0.2.2:22"),
		tcpFlow("10.0.2.2:3", "203.0.113.9:443", "10.0.2.1:15001"),
		tcpFlow("127.0.0.6:3", "10.244.0.8:8080", "10.0.2.2:8080"),
		tcpFlow("10.1.1.1:4", "10.244.0.8:9000", "10.244.0.8:15006"),
		tcpFlow("10.1.1.1:7", "10.244.0.8:7777", "10.244.0.8:15006"),
		tcpFlow("10.244.0.8:7", "203.0.113.9:443", "203.0.113.9:443"),
	}
}

// TestMatchesRules compares flows with the table of a plan.
func TestMatchesRules(t *testing.T) {
	dropping := func(p *ruleio.NATPlan) { p.Unmeshed = ruleio.UnmeshedDrop }
	ambient := func(p *ruleio.NATPlan) { p.DataPlane = ruleio.DataPlaneAmbient }
	captured := func(p *ruleio.NATPlan) { p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect, CapturePort: 15053} }
	flow := func(protocol byte, source, destination, went string) nfnetlink.Flow {
		f := tcpFlow(source, destination, went)
		f.Original.Protocol, f.Reply.Protocol = protocol, protocol
		return f
	}
	fromProxy := tcpFlow("10.1.1.1:1", "10.244.0.8:8080", "10.0.2.2:8080")
	fromProxy.Mark = nftrules.MarkFromProxy
	closed := tcpFlow("10.1.1.1:1", "10.244.0.8:7777", "10.0.2.2:7777")
	closed.Mark = nftrules.MarkFromProxy
	query := flow(17, "10.0.2.2:1", "203.0.113.9:53", "203.0.113.9:53")
	tracked := query
	tracked.Zone = 1
	for name, tc := range map[string]struct {
		plan func(*ruleio.NATPlan)
		flow nfnetlink.Flow
		want bool
	}{
		"ztunnel's to a mesh port":             {ambient, fromProxy, true},
		"a client's bypassing ztunnel":         {ambient, tcpFlow("10.1.1.1:1", "10.244.0.8:8080", "10.0.2.2:8080"), false},
		"ztunnel's to a port that is closed":   {ambient, closed, false},
		"a closed port, forwarded":             {nil, tcpFlow("10.1.1.1:1", "10.244.0.8:7777", "10.0.2.2:7777"), false},
		"a closed UDP port, refused":           {nil, flow(17, "10.1.1.1:1", "10.244.0.8:7777", "10.244.0.8:7777"), true},
		"a closed UDP port, forwarded":         {nil, flow(17, "10.1.1.1:1", "10.244.0.8:7777", "10.0.2.2:7777"), false},
		"guest's UDP":                          {nil, flow(17, "10.0.2.2:1", "203.0.113.9:123", "203.0.113.9:123"), true},
		"guest's UDP, dropped":                 {dropping, flow(17, "10.0.2.2:1", "203.0.113.9:123", "203.0.113.9:123"), false},
		"proxy's over IPv6":                    {nil, tcpFlow("[::6]:1", "[fd00:244::8]:8080", "[fd10:0:2::2]:8080"), true},
		"client's over IPv6":                   {nil, tcpFlow("[fd00::1]:1", "[fd00:244::8]:8080", "[fd10:0:2::2]:8080"), false},
		"further packets of the proxy":         {nil, tcpFlow("10.0.2.1:15001", "10.0.2.2:40000", "10.0.2.2:40000"), true},
		"guest's DHCP":                         {dropping, flow(17, "10.0.2.2:68", "10.0.2.1:67", "10.0.2.1:67"), true},
		"guest's query in another zone":        {captured, query, false},
		"guest's query in the answer's zone":   {captured, tracked, true},
		"guest's query, without DNS capture":   {nil, query, true},
		"guest's query that the proxy answers": {nil, flow(17, "10.0.2.2:1", "203.0.113.9:53", "127.0.0.1:15053"), true},
	} {
		t.Run(name, func(t *testing.T) {
			p := plan()
			p.Inbound = ruleio.Inbound{Mesh: []uint16{8080}}
			p.Families = append(p.Families, ruleio.Family{Name: ruleio.FamilyIPv6, Guest: "fd10:0:2::2", Gateway: "fd10:0:2::1", Pod: "fd00:244::8"})
			if tc.plan != nil {
				tc.plan(p)
			}
			if got := matchesRules(p, tc.flow, pathOf(p, build(t, *p), tc.flow)); got != tc.want {
				t.Errorf("matches the rules: %v, want %v", got, tc.want)
			}
		})
	}
}

func build(t *testing.T, p ruleio.NATPlan) nft.Table {
	t.Helper()
	table, err := nftrules.Build(p)
	if err != nil {
		t.Fatal(err)
	}
	return table.Table
}
