package kernel

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// Pools that random plans and packets are made of.
var (
	guestPool   = []uint16{1000, 1001, 1002, 1003, 1004, 1005}
	outsidePool = []uint16{2000, 2001, 2002, 2003}
	hostPool    = []string{outsideIP, excludedIP}
	networkPool = []string{"198.51.100.0/24", "198.51.100.7/32", "203.0.113.0/25", "203.0.113.128/25", "192.0.2.0/24"}
)

// randomPlan draws from the pools.
func randomPlan(r *rand.Rand) ruleio.Plan {
	p := plan()
	p.Inbound, p.Outbound = ruleio.Inbound{}, ruleio.Outbound{}
	for _, port := range guestPool {
		switch r.IntN(3) {
		case 0:
			p.Inbound.Mesh = append(p.Inbound.Mesh, port)
		case 1:
			p.Inbound.DirectTCP = append(p.Inbound.DirectTCP, ruleio.PortRange{First: port, Last: port})
		}
	}
	if first := r.IntN(2 * len(outsidePool)); first < len(outsidePool) {
		p.Outbound.ExcludePorts = []ruleio.PortRange{{First: outsidePool[first], Last: outsidePool[first] + uint16(r.IntN(3))}} //nolint:gosec // At most 2.
	}
	draw := func() []string {
		// The second network is inside the first: one of them goes.
		without := r.IntN(2)
		from := slices.Delete(slices.Clone(networkPool), without, without+1)
		var out []string
		for _, n := range from {
			if r.IntN(3) == 0 {
				out = append(out, n)
			}
		}
		slices.SortFunc(out, func(a, b string) int { return netip.MustParsePrefix(a).Addr().Compare(netip.MustParsePrefix(b).Addr()) })
		return out
	}
	p.Outbound.ExcludeCIDRs, p.Outbound.IncludeCIDRs = draw(), draw()
	if r.IntN(2) == 0 {
		p.Unmeshed = ruleio.UnmeshedDrop
	}
	return p
}

// model says from the plan alone what becomes of a connection. It knows nothing
// of rules.
func model(p ruleio.Plan, c probe) outcome {
	has := func(ranges []ruleio.PortRange) bool {
		return slices.ContainsFunc(ranges, func(r ruleio.PortRange) bool { return r.First <= c.port && c.port <= r.Last })
	}
	within := func(networks []string) bool {
		return slices.ContainsFunc(networks, func(n string) bool { return netip.MustParsePrefix(n).Contains(netip.MustParseAddr(c.host)) })
	}
	if c.host == podIP {
		switch {
		case slices.Contains(p.Inbound.Mesh, c.port):
			return c.through("15006", serverGuest, gatewayIP)
		case has(p.Inbound.DirectTCP):
			return directly(serverGuest, peerIP)
		default:
			return c.only("15006")
		}
	}
	included := len(p.Outbound.IncludeCIDRs) == 0 || within(p.Outbound.IncludeCIDRs)
	if has(p.Outbound.ExcludePorts) || within(p.Outbound.ExcludeCIDRs) || !included {
		return directly(serverOutside, podIP)
	}
	return c.through("15001", serverOutside, podIP)
}

// TestRandomPlans writes random plans: each is read back as it was built,
// building it again gives the same, and every packet goes where the model says.
func TestRandomPlans(t *testing.T) {
	const rounds = 100
	r := rand.New(rand.NewPCG(19, 7)) //nolint:gosec // Test data that has to be the same in each run.
	l := newLab(t)
	l.writeIstio(istioNftables)
	l.addGuest()
	l.writeKubeVirt(annotatedWithoutList)
	l.startServers()
	for _, p := range guestPool {
		l.serveTCP(l.guest, guestIP, int(p), answer(serverGuest))
	}
	for _, p := range outsidePool {
		l.serveTCP(l.peer, "0.0.0.0", int(p), answer(serverOutside))
	}
	sent := 0
	for round := range rounds {
		p := randomPlan(r)
		l.apply(p)
		if differences := nftrules.Compare(build(t, p), l.mustRead().Table); len(differences) > 0 {
			t.Fatalf("round %d, plan %+v: read back otherwise: %q", round, p, differences)
		}
		for range 12 {
			c := probe{name: "guest to outside", from: fromGuest, network: "tcp4", host: hostPool[r.IntN(2)], port: outsidePool[r.IntN(len(outsidePool))]}
			if r.IntN(2) == 0 {
				c = probe{name: "client to guest", from: fromPeer, network: "tcp4", host: podIP, port: guestPool[r.IntN(len(guestPool))]}
			}
			if diff := cmp.Diff(model(p, c), l.run(c, waitLimit)); diff != "" {
				t.Errorf("round %d, %s, plan %+v (-model +kernel):\n%s", round, c, p, diff)
			}
			sent++
		}
	}
	t.Logf("%d plans, %d connections", rounds, sent)
}
