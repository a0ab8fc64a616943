// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// Values of random plans and packets. The second network of each family is
// inside the first.
var (
	guestPool   = []uint16{1000, 1001, 1002, 1003, 1004, 1005}
	outsidePool = []uint16{2000, 2001, 2002, 2003}
	networkPool = map[string][]string{
		ipv4.number: {"198.51.100.0/24", "198.51.100.7/32", "203.0.113.0/25", "203.0.113.128/25", "192.0.2.0/24"},
		ipv6.number: {"fd00:98::/32", "fd00:98::7/128", "fd00:99::/120", "fd00:99::8000/113", "fd00:97::/64"},
	}
)

// randomPlan returns a plan with random values, except for the proxy and the
// families.
func randomPlan(r *rand.Rand, p ruleio.NATPlan, families []family) ruleio.NATPlan {
	p.Inbound, p.Outbound = ruleio.Inbound{}, ruleio.Outbound{}
	single := func(port uint16) ruleio.PortRange { return ruleio.PortRange{First: port, Last: port} }
	for _, port := range guestPool {
		switch r.IntN(3) {
		case 0:
			p.Inbound.Mesh = append(p.Inbound.Mesh, port)
		case 1:
			p.Inbound.DirectTCP = append(p.Inbound.DirectTCP, single(port))
		}
		if r.IntN(2) == 0 {
			p.Inbound.DirectUDP = append(p.Inbound.DirectUDP, single(port))
		}
	}
	draw := func() []ruleio.PortRange {
		first := r.IntN(2 * len(outsidePool))
		if first >= len(outsidePool) {
			return nil
		}
		return []ruleio.PortRange{{First: outsidePool[first], Last: outsidePool[first] + uint16(r.IntN(3))}} //nolint:gosec // At most 2.
	}
	p.Outbound.ExcludePorts, p.Outbound.ExcludeUDP = draw(), draw()
	p.Outbound.ExcludeCIDRs, p.Outbound.IncludeCIDRs = randomNetworks(r, families), randomNetworks(r, families)
	if r.IntN(2) == 0 {
		p.Unmeshed = ruleio.UnmeshedDrop
	}
	return p
}

func randomNetworks(r *rand.Rand, families []family) []string {
	var out []string
	for _, f := range families {
		without := r.IntN(2)
		for i, n := range networkPool[f.number] {
			if i != without && r.IntN(3) == 0 {
				out = append(out, n)
			}
		}
	}
	slices.SortFunc(out, func(a, b string) int { return netip.MustParsePrefix(a).Addr().Compare(netip.MustParsePrefix(b).Addr()) })
	return out
}

// randomProbe returns a random inbound or outbound connection or datagram.
func randomProbe(r *rand.Rand, families []family, ambient bool) probe {
	f := families[r.IntN(len(families))]
	network := []string{f.tcp(), f.tcp(), f.udp()}[r.IntN(3)]
	if r.IntN(2) == 0 {
		if ambient && r.IntN(2) == 0 {
			return probe{name: "client to guest by HBONE", from: fromPeer, network: f.tcp(), tunnel: true, host: f.pod, port: guestPool[r.IntN(len(guestPool))]}
		}
		return probe{name: "client to guest", from: fromPeer, network: network, host: f.pod, port: guestPool[r.IntN(len(guestPool))]}
	}
	host := []string{f.outside, f.excluded}[r.IntN(2)]
	return probe{name: "guest to outside", from: fromGuest, network: network, host: host, port: outsidePool[r.IntN(len(outsidePool))]}
}

// model computes the outcome of the first packet of a flow from the plan only.
// It does not depend on rules or on earlier flows.
func model(p ruleio.NATPlan, c probe) outcome {
	if c.host == familyOf(c.host).pod {
		return modelInbound(p, c)
	}
	return modelOutbound(p, c)
}

// has reports whether the probe's port is in one of the ranges.
func (p probe) has(ranges []ruleio.PortRange) bool {
	return slices.ContainsFunc(ranges, func(r ruleio.PortRange) bool { return r.First <= p.port && p.port <= r.Last })
}

// within reports whether the probe's destination is in one of the networks.
func (p probe) within(networks []string) bool {
	return slices.ContainsFunc(networks, func(n string) bool { return netip.MustParsePrefix(n).Contains(netip.MustParseAddr(p.host)) })
}

func modelInbound(p ruleio.NATPlan, c probe) outcome {
	f := familyOf(c.host)
	mesh, udp, client := slices.Contains(p.Inbound.Mesh, c.port), c.network == f.udp(), f.gateway
	if p.DataPlane == ruleio.DataPlaneAmbient {
		client = f.peer
		if c.tunnel && (mesh || c.has(p.Inbound.DirectTCP)) {
			return c.through("15008", serverGuest, client)
		}
		if c.tunnel {
			return c.only("15008")
		}
	}
	switch {
	case udp && c.has(p.Inbound.DirectUDP) || !udp && c.has(p.Inbound.DirectTCP):
		return directly(serverGuest, f.peer)
	case udp:
		return refused
	case mesh:
		return c.through("15006", serverGuest, client)
	default:
		return c.only("15006")
	}
}

func modelOutbound(p ruleio.NATPlan, c probe) outcome {
	f := familyOf(c.host)
	udp, included := c.network == f.udp(), len(p.Outbound.IncludeCIDRs) == 0 || c.within(p.Outbound.IncludeCIDRs)
	switch {
	case udp && p.Unmeshed == ruleio.UnmeshedDrop && !c.has(p.Outbound.ExcludeUDP) && !c.within(p.Outbound.ExcludeCIDRs):
		return noAnswer
	case udp, c.has(p.Outbound.ExcludePorts), c.within(p.Outbound.ExcludeCIDRs), !included:
		return directly(serverOutside, f.pod)
	default:
		return c.through("15001", serverOutside, f.pod)
	}
}

// Flags of TestRandomPlans. The number of a plan is the seed of all its random
// values, so that a plan can be repeated.
var (
	seed      = flag.Uint64("seed", 19, "number of the first random plan")
	planCount = flag.Uint64("plans", 50, "number of random plans for each lab")
)

// TestRandomPlans writes random plans and checks for each that it is read back
// as built, that its table does not change if the plan is converted to a
// request and back, that all outcomes match the model, and that a reset would
// not terminate any of its flows.
func TestRandomPlans(t *testing.T) {
	for _, c := range []column{
		{istioNftables, annotatedWithoutList, []family{ipv4}},
		{istioNftables, annotatedWithoutList, []family{ipv6}},
		{istioNftables, annotatedWithoutList, []family{ipv4, ipv6}},
		{istio{name: istioNftables.name, native: true, ambient: true}, annotatedWithoutList, []family{ipv4, ipv6}},
	} {
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			l := c.newLab(t)
			for _, f := range c.families {
				for _, p := range guestPool {
					l.serveTCP(l.guest, f.guest, int(p), answer(serverGuest))
					l.serveUDP(l.guest, f.guest, int(p), serverGuest)
				}
				for _, p := range outsidePool {
					l.serveTCP(l.peer, f.wildcard, int(p), answer(serverOutside))
					l.serveUDP(l.peer, f.outside, int(p), serverOutside)
					l.serveUDP(l.peer, f.excluded, int(p), serverOutside)
				}
			}
			connections := 0
			for number := *seed; number < *seed+*planCount; number++ {
				connections += l.randomPlan(t, c, number)
			}
			t.Logf("%d plans, %d connections, from -seed=%d", *planCount, connections, *seed)
		})
	}
}

// randomPlan runs TestRandomPlans with one plan in one lab. It returns the
// number of connections.
func (l *lab) randomPlan(t *testing.T, lab column, number uint64) int {
	t.Helper()
	const probes = 24
	r := rand.New(rand.NewPCG(number, 7)) //nolint:gosec // Test data that has to be the same in each run.
	p := randomPlan(r, lab.startPlan(), l.families)
	again := fmt.Sprintf("go -C test test ./kernel -run '%s' -seed=%d -plans=1", strings.ReplaceAll(t.Name(), "/", "$/^")+"$", number)
	if r := l.handle(l.target(p, true)); r.Outcome != ruleio.OutcomeApplied {
		t.Fatalf("plan %+v: outcome %s: %s\nto repeat: %s", p, r.Outcome, r.Message, again)
	}
	if read := l.mustRead().Table; read.Digest() != build(t, replanned(t, p)).Digest() {
		t.Fatalf("plan %+v: the table that was read back differs: %q\nto repeat: %s", p, nft.Compare(build(t, p), read), again)
	}
	var sent sync.WaitGroup
	for range probes {
		c := randomProbe(r, l.families, lab.istio.ambient)
		sent.Go(func() {
			want := model(p, c)
			if diff := cmp.Diff(want, l.run(c, want.limit())); diff != "" {
				t.Errorf("%s, plan %+v (-model +kernel):\n%s\nto repeat: %s", c, p, diff, again)
			}
		})
	}
	sent.Wait()
	if r := l.handle(l.target(p, true)); r.ResetFlows != 0 {
		t.Errorf("plan %+v: %d of its flows would be reset\nto repeat: %s", p, r.ResetFlows, again)
	}
	return probes
}

// The result of replanned is the plan after conversion to a request and back.
func replanned(t *testing.T, p ruleio.NATPlan) ruleio.NATPlan {
	t.Helper()
	text, err := ruleio.Request{Version: ruleio.RequestVersion, Targets: []ruleio.Target{
		{Operation: ruleio.OperationApply, PodUID: podUID, PodIPs: []string{podIP}, Plan: &p},
	}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := ruleio.DecodeRequest(text)
	if err != nil {
		t.Fatal(err)
	}
	return *decoded.Targets[0].Plan
}
