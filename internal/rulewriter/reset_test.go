package rulewriter

import (
	"context"
	"net/netip"
	"slices"
	"testing"

	"meshvm.io/meshvm/internal/conntrack"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// flows are tracked flows in memory.
type flows struct {
	list    []conntrack.Flow
	deleted []conntrack.Flow
	err     error
}

func (f *flows) List() ([]conntrack.Flow, error) { return f.list, f.err }

func (f *flows) Delete(list []conntrack.Flow) (int, error) {
	f.deleted = append(f.deleted, list...)
	return len(list), f.err
}

// tcpFlow is a flow whose first packet went to a place other than its
// destination.
func tcpFlow(source, destination, went string) conntrack.Flow {
	from, to := netip.MustParseAddrPort(source), netip.MustParseAddrPort(destination)
	return conntrack.Flow{
		Protocol: 6,
		Original: conntrack.Tuple{Source: from, Destination: to},
		Reply:    conntrack.Tuple{Source: netip.MustParseAddrPort(went), Destination: from},
	}
}

func TestReset(t *testing.T) {
	before := plan()
	before.Inbound = ruleio.Inbound{Mesh: []uint16{8080}, DirectTCP: ruleio.Ports(22, 9000)}
	after := plan()
	after.Inbound = ruleio.Inbound{Mesh: []uint16{8080, 9000}, DirectTCP: ruleio.Ports(22)}
	after.Outbound.ExcludePorts = ruleio.Ports(5432)
	table, err := nftrules.Build(*before)
	if err != nil {
		t.Fatal(err)
	}
	toProxyAnew := tcpFlow("10.1.1.1:4", "10.244.0.8:9000", "10.244.0.8:15006")
	toGuest := tcpFlow("10.1.1.1:5", "10.244.0.8:9000", "10.0.2.2:9000")
	captured := tcpFlow("10.0.2.2:6", "203.0.113.9:5432", "10.0.2.1:15001")
	all := []conntrack.Flow{
		tcpFlow("10.1.1.1:1", "10.244.0.8:8080", "10.244.0.8:15006"),
		tcpFlow("10.1.1.1:2", "10.244.0.8:22", "10.0.2.2:22"),
		tcpFlow("10.0.2.2:3", "203.0.113.9:443", "10.0.2.1:15001"),
		tcpFlow("127.0.0.6:3", "10.244.0.8:8080", "10.0.2.2:8080"),
		toProxyAnew, toGuest, captured,
	}
	for name, tc := range map[string]struct {
		reset bool
		table *nftrules.Table
		err   error
		want  []conntrack.Flow
		ends  ruleio.Outcome
	}{
		"reset":                       {reset: true, table: &table, want: []conntrack.Flow{toGuest, captured}, ends: ruleio.OutcomeApplied},
		"keep":                        {table: &table, ends: ruleio.OutcomeApplied},
		"there was no table":          {reset: true, ends: ruleio.OutcomeApplied},
		"flows cannot be listed":      {reset: true, table: &table, err: errOther, ends: ruleio.OutcomeFailed},
		"nothing to do without reset": {table: &table, err: errOther, ends: ruleio.OutcomeApplied},
	} {
		t.Run(name, func(t *testing.T) {
			n, f := node{table: tc.table}, &flows{list: all, err: tc.err}
			d := n.deps()
			d.Flows = f
			r := Run(context.Background(), d, encode(t, target(func(t *ruleio.Target) { t.Plan, t.Reset = after, tc.reset })))
			got := r.Targets[0]
			if got.Outcome != tc.ends || got.ResetFlows != len(tc.want) {
				t.Errorf("ended with %s (%s), %d flows reset", got.Outcome, got.Message, got.ResetFlows)
			}
			same := func(a, b conntrack.Flow) bool { return a.Original == b.Original }
			if !slices.EqualFunc(tc.want, f.deleted, same) {
				t.Errorf("deleted %v, want %v", f.deleted, tc.want)
			}
		})
	}
}
