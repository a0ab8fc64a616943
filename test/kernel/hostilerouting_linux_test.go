// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/ruleio"
)

// advertisement returns an IPv6 router advertisement (RFC 4861) from the guest to all
// nodes: it is a default router and announces a prefix.
func advertisement() hostile {
	const source, all = "fe80::bad", "ff02::1"
	b := make([]byte, 16)
	b[0], b[4] = 134, 64
	binary.BigEndian.PutUint16(b[6:], 1800)
	prefix := make([]byte, 32)
	prefix[0], prefix[1], prefix[2], prefix[3] = 3, 4, 64, 0xc0
	binary.BigEndian.PutUint32(prefix[4:], 86400)
	binary.BigEndian.PutUint32(prefix[8:], 86400)
	copy(prefix[16:], netip.MustParseAddr("fd00:bad::").AsSlice())
	b = slices.Concat(b, prefix)
	binary.BigEndian.PutUint16(b[2:], checksum(source, all, protoICMPv6, b))
	return hostile{name: "router advertisement", f: ipv6, dst: all, packets: [][]byte{inIP(source, all, protoICMPv6, nil, b, 0)}}
}

// redirects are ICMP redirects (RFC 792, RFC 4861) that claim that the guest is the
// better router to a host outside.
func redirects() []hostile {
	b := make([]byte, 8)
	b[0], b[1] = 5, 1
	copy(b[4:], netip.MustParseAddr(guestIP).AsSlice())
	b = slices.Concat(b, inIP(podIP, outsideIP, protoUDP, nil, datagram(podIP, outsideIP, protoUDP, ntpPort, 1), 0))
	sum := uint32(0)
	for i := 0; i+1 < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(b[2:], ^uint16(sum))
	const source = "fe80::bad"
	six := make([]byte, 8)
	six[0] = 137
	six = slices.Concat(six, netip.MustParseAddr(source).AsSlice(), netip.MustParseAddr(ipv6.outside).AsSlice())
	binary.BigEndian.PutUint16(six[2:], checksum(source, ipv6.gateway, protoICMPv6, six))
	return []hostile{
		{name: "redirect", f: ipv4, dst: gatewayIP, packets: [][]byte{inIP(peerIP, gatewayIP, protoICMP, nil, b, 0)}},
		{name: "redirect", f: ipv6, dst: ipv6.gateway, packets: [][]byte{inIP(source, ipv6.gateway, protoICMPv6, nil, six, 0)}},
	}
}

// routing returns the routes and addresses of the pod.
func (l *lab) routing() string {
	l.t.Helper()
	var out []string
	l.in(l.pod, func() error {
		for _, f := range []int{unix.AF_INET, unix.AF_INET6} {
			routes, err := netlink.RouteListFiltered(f, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
			if err != nil {
				return fmt.Errorf("list routes: %w", err)
			}
			for _, r := range routes {
				out = append(out, fmt.Sprintf("route %s via %s table %d", r.Dst, r.Gw, r.Table))
			}
			addresses, err := netlink.AddrList(nil, f)
			if err != nil {
				return fmt.Errorf("list addresses: %w", err)
			}
			for _, a := range addresses {
				out = append(out, "address "+a.IPNet.String())
			}
		}
		return nil
	})
	slices.Sort(out)
	return strings.Join(out, "\n")
}

// settledRouting returns the routes and addresses of the pod when they do not change any
// more. The kernel adds those of a link up to one second after the link has a carrier
// (net/core/link_watch.c).
func (l *lab) settledRouting() string {
	l.t.Helper()
	last, since := l.routing(), time.Now()
	for time.Since(since) < 1500*time.Millisecond {
		time.Sleep(50 * time.Millisecond)
		if now := l.routing(); now != last {
			last, since = now, time.Now()
		}
	}
	return last
}

// TestHostileRouting: the guest announces itself as a router to the pod. The pod, which
// forwards, accepts neither router advertisements nor redirects.
func TestHostileRouting(t *testing.T) {
	need(t)
	l := newLab(t, ipv4, ipv6)
	l.writeIstio(istioIptables)
	l.addGuest()
	l.writeKubeVirt(annotated)
	l.apply(planOf(l.families...))
	before := l.settledRouting()
	attacks := append(redirects(), advertisement())
	// The source of an advertisement must be a link-local address of a neighbor.
	if err := l.inject(attacks); err != nil {
		t.Fatal(err)
	}
	time.Sleep(settle)
	if after := l.routing(); after != before {
		t.Errorf("the pod's routes changed from\n%s\nto\n%s", before, after)
	}
	// A pod that accepts advertisements would be changed by this one.
	l.in(l.pod, func() error { return sysctl("ipv6/conf/"+bridge+"/accept_ra", "2") })
	if err := l.inject([]hostile{advertisement()}); err != nil {
		t.Fatal(err)
	}
	for begin := time.Now(); !strings.Contains(l.routing(), "fd00:bad:"); time.Sleep(10 * time.Millisecond) {
		if time.Since(begin) > waitLimit {
			t.Fatalf("the advertisement is not valid, so the test shows nothing:\n%s", l.routing())
		}
	}
}

// TestConntrackFlood: a guest opens more flows than its pod tracks. Its own pod may lose
// connections. The rules of its pod can still be verified and changed, and another pod
// on the same machine is not affected.
func TestConntrackFlood(t *testing.T) {
	need(t)
	attacker, neighbor := newLab(t, ipv4), newLab(t, ipv4)
	for _, l := range []*lab{attacker, neighbor} {
		l.writeIstio(istioIptables)
		l.addGuest()
		l.writeKubeVirt(withoutList)
		l.startServers()
		l.apply(plan())
	}
	const flows = 300_000
	fd := attacker.raw(attacker.guest, ipv4, unix.IPPROTO_RAW)
	to := &unix.SockaddrInet4{Addr: netip.MustParseAddr(outsideIP).As4()}
	start := time.Now()
	sent := 0
	for n := range uint32(flows) {
		b := make([]byte, 8)
		binary.BigEndian.PutUint16(b[0:], uint16(n%50_000+10_000))
		binary.BigEndian.PutUint16(b[2:], uint16(n/50_000+40_000))
		binary.BigEndian.PutUint16(b[4:], 8)
		if unix.Sendto(fd, inIP(guestIP, outsideIP, protoUDP, nil, b, 0), 0, to) == nil {
			sent++
		}
	}
	count := 0
	attacker.in(attacker.pod, func() error {
		text, err := os.ReadFile("/proc/thread-self/net/stat/nf_conntrack")
		if err != nil {
			return fmt.Errorf("count flows: %w", err)
		}
		fields := strings.Fields(strings.Split(string(text), "\n")[1])
		n, err := strconv.ParseUint(fields[0], 16, 32)
		count = int(n)
		return err
	})
	t.Logf("%d packets sent in %s, the pod tracks %d flows", sent, time.Since(start).Round(time.Millisecond), count)
	if count < 50_000 {
		t.Errorf("the pod tracks %d flows, so the test shows nothing", count)
	}
	if r := attacker.request(ruleio.OperationVerify, new(plan())); r.Outcome != ruleio.OutcomeVerified {
		t.Errorf("verification during the flood: %s (%s)", r.Outcome, r.Message)
	}
	if r := attacker.request(ruleio.OperationApply, new(unmeshedPlan(ipv4))); r.Outcome != ruleio.OutcomeApplied {
		t.Errorf("a change during the flood: %s (%s)", r.Outcome, r.Message)
	}
	neighbor.expect(t, probe{name: "client of another pod", from: fromPeer, network: ipv4.tcp(), host: podIP, port: sshPort}, directly(serverGuest, peerIP))
}
