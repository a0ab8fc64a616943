// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/ruleio"
)

// Ports of servers that keep their connections open.
const (
	heldMesh     = 6001
	heldDirect   = 6002
	heldClosing  = 6003
	heldCaptured = 6004
	heldExcluded = 6005
	heldJoining  = 6006
)

// hold sends a greeting and then echoes all data.
func hold(server string) func(net.Conn) {
	return func(c net.Conn) {
		answer(server)(c)
		_, _ = io.Copy(c, c)
	}
}

// heldPlan returns a plan with three guest ports that bypass the proxy, and one
// outside port that does.
func (c column) heldPlan() ruleio.NATPlan {
	p := c.startPlan()
	p.Inbound = ruleio.Inbound{Mesh: []uint16{heldMesh}, DirectTCP: ruleio.Ports(heldDirect, heldClosing, heldJoining), DirectUDP: ruleio.Ports(udpPort)}
	p.Outbound = ruleio.Outbound{ExcludePorts: ruleio.Ports(heldExcluded)}
	return p
}

// heldChange closes a port, sets via of a port to Mesh, and excludes
// one more outbound port.
func (c column) heldChange() ruleio.NATPlan {
	p := c.heldPlan()
	p.Inbound.Mesh, p.Inbound.DirectTCP = []uint16{heldMesh, heldJoining}, ruleio.Ports(heldDirect)
	p.Outbound.ExcludePorts = ruleio.Ports(heldCaptured, heldExcluded)
	return p
}

// held is a connection that stays open during a change.
type held struct {
	probe
	// affected reports whether heldChange changes the path of the connection.
	affected bool
}

// heldConnections returns the connections for the lab of a column.
func (c column) heldConnections() []held {
	var out []held
	for _, f := range c.families {
		client := func(name string, port uint16, affected bool) held {
			return held{probe{name: name, from: fromPeer, network: f.tcp(), host: f.pod, port: port}, affected}
		}
		guest := func(name string, port uint16, affected bool) held {
			return held{probe{name: name, from: fromGuest, network: f.tcp(), host: f.outside, port: port}, affected}
		}
		out = append(out,
			client("client through the proxy", heldMesh, false),
			client("client bypassing the proxy", heldDirect, false),
			client("client bypassing the proxy to a port that joins the mesh", heldJoining, true),
			client("client to a port that is closed", heldClosing, true),
			guest("guest through the proxy to a port that is excluded", heldCaptured, true),
			guest("guest bypassing the proxy", heldExcluded, false))
		if !c.istio.ambient {
			continue
		}
		for _, tunnelled := range []held{
			client("client by HBONE to a mesh port", heldMesh, false),
			client("client by HBONE to a direct port", heldDirect, false),
			client("client by HBONE to a port that joins the mesh", heldJoining, false),
			client("client by HBONE to a port that is closed", heldClosing, true),
		} {
			tunnelled.tunnel = true
			out = append(out, tunnelled)
		}
	}
	return out
}

// newHeldLab creates the lab of a column with servers that keep their
// connections open.
func (c column) newHeldLab(t *testing.T) *lab {
	t.Helper()
	l := c.newLab(t)
	for _, f := range c.families {
		for _, p := range []int{heldMesh, heldDirect, heldClosing, heldJoining} {
			l.serveTCP(l.guest, f.guest, p, hold(serverGuest))
		}
		for _, p := range []int{heldCaptured, heldExcluded} {
			l.serveTCP(l.peer, f.outside, p, hold(serverOutside))
		}
	}
	return l
}

// changeColumns are the labs whose plans change while flows are established.
var changeColumns = []column{
	{istioIptables, annotated, []family{ipv4}},
	{istioNftables, annotated, []family{ipv4, ipv6}},
	{ambientIptables, annotated, []family{ipv4}},
	{ambientNftables, annotated, []family{ipv4, ipv6}},
}

// TestLiveChange changes the plan while flows are established.
func TestLiveChange(t *testing.T) {
	for _, c := range changeColumns {
		for _, reset := range []bool{false, true} {
			policy := map[bool]string{false: "Keep", true: "Reset"}[reset]
			t.Run(c.String()+", "+policy, func(t *testing.T) {
				t.Parallel()
				l := c.newHeldLab(t)
				l.apply(c.heldPlan())
				flows := c.heldConnections()
				conns := make([]*bufio.ReadWriter, len(flows))
				for n, f := range flows {
					conns[n] = l.open(t, f.probe)
				}
				change := l.target(c.heldChange(), reset)
				r := l.handle(change)
				if r.Outcome != ruleio.OutcomeApplied || (r.ResetFlows > 0) != reset {
					t.Fatalf("ended with %s (%s), %d flows reset", r.Outcome, r.Message, r.ResetFlows)
				}
				for n, f := range flows {
					if alive, want := echoes(conns[n]), !reset || !f.affected; alive != want {
						t.Errorf("%s: alive is %v, want %v", f.probe, alive, want)
					}
				}
				if again := l.handle(change); again.ResetFlows != 0 {
					t.Errorf("writing the same table again ended with %s (%s), %d flows reset", again.Outcome, again.Message, again.ResetFlows)
				}
			})
		}
	}
}

// target returns the target that applies a plan.
func (l *lab) target(p ruleio.NATPlan, reset bool) ruleio.Target {
	return ruleio.Target{Operation: ruleio.OperationApply, PodUID: podUID, PodIPs: l.podIPs(), Plan: &p, Reset: reset}
}

// open opens a connection and waits for the answer of its server.
func (l *lab) open(t *testing.T, p probe) *bufio.ReadWriter {
	t.Helper()
	port := p.port
	if p.tunnel {
		port = tunnelPort
	}
	var c net.Conn
	l.in(p.from(l), func() error {
		var err error
		c, err = net.DialTimeout(p.network, net.JoinHostPort(p.host, strconv.Itoa(int(port))), waitLimit)
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	if p.tunnel {
		if _, err := fmt.Fprintf(c, "CONNECT %s\n", p.destination()); err != nil {
			t.Fatal(err)
		}
	}
	rw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriterSize(c, 16))
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", p, err)
		}
		if strings.HasPrefix(line, "server") {
			return rw
		}
	}
}

// echoes reports whether the connection still transports data in both
// directions.
func echoes(rw *bufio.ReadWriter) bool {
	if _, err := rw.WriteString("still there?\n"); err != nil {
		return false
	}
	if err := rw.Flush(); err != nil {
		return false
	}
	line, err := rw.ReadString('\n')
	return err == nil && line == "still there?\n"
}

// TestTrackedFlow sends datagrams of one flow under plans with different paths
// for it. It is a regression test: results of random plans differed from the
// model if two probes had the same source port.
func TestTrackedFlow(t *testing.T) {
	t.Parallel()
	c := column{istioNftables, annotatedWithoutList, []family{ipv4, ipv6}}
	l := c.newLab(t)
	open, closed := planOf(l.families...), planOf(l.families...)
	closed.Inbound.DirectUDP = nil
	for _, f := range l.families {
		t.Run(f.name, func(t *testing.T) {
			guest := directly(serverGuest, f.peer)
			fresh := probe{name: "client to a UDP port", from: fromPeer, network: f.udp(), host: f.pod, port: udpPort}
			tracked := fresh
			tracked.sourcePort = l.nextSourcePort()
			l.apply(open)
			l.expect(t, tracked, guest)
			l.apply(closed)
			l.expect(t, tracked, guest)
			l.expect(t, fresh, refused)
			// This simulates a rule-writer that was killed before it reset the flow.
			if r := l.handle(l.target(closed, true)); r.ResetFlows != 1 {
				t.Errorf("ended with %s (%s), %d flows reset, want 1", r.Outcome, r.Message, r.ResetFlows)
			}
			l.expect(t, tracked, refused)
		})
	}
}
