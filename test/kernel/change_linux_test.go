package kernel

import (
	"bufio"
	"io"
	"net"
	"strconv"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/ruleio"
)

// Ports of servers that hold their connections.
const (
	heldMesh     = 6001
	heldDirect   = 6002
	heldClosing  = 6003
	heldCaptured = 6004
	heldExcluded = 6005
)

// hold answers and then sends back whatever comes.
func hold(server string) func(net.Conn) {
	return func(c net.Conn) {
		answer(server)(c)
		_, _ = io.Copy(c, c)
	}
}

// heldPlan has two ports to the guest past the proxy, and one port outside.
func heldPlan() ruleio.Plan {
	p := plan()
	p.Inbound = ruleio.Inbound{Mesh: []uint16{heldMesh}, DirectTCP: ruleio.Ports(heldDirect, heldClosing)}
	p.Outbound = ruleio.Outbound{ExcludePorts: ruleio.Ports(heldExcluded)}
	return p
}

// changedPlan closes a port and captures one less.
func changedPlan() ruleio.Plan {
	p := heldPlan()
	p.Inbound.DirectTCP = ruleio.Ports(heldDirect)
	p.Outbound.ExcludePorts = ruleio.Ports(heldCaptured, heldExcluded)
	return p
}

// held is a connection that stays open over a change.
type held struct {
	name string
	from func(*lab) *netns.Namespace
	host string
	port int
	// affected says whether changedPlan treats it otherwise.
	affected bool
}

var heldFlows = []held{
	{"client through the proxy", fromPeer, podIP, heldMesh, false},
	{"client past the proxy", fromPeer, podIP, heldDirect, false},
	{"client to a port that is closed", fromPeer, podIP, heldClosing, true},
	{"guest through the proxy to a port that is excluded", fromGuest, outsideIP, heldCaptured, true},
	{"guest past the proxy", fromGuest, outsideIP, heldExcluded, false},
}

// TestLiveChange changes the plan under established flows.
func TestLiveChange(t *testing.T) {
	for _, i := range []istio{istioIptables, istioNftables} {
		for _, reset := range []bool{false, true} {
			policy := map[bool]string{false: "Keep", true: "Reset"}[reset]
			t.Run("Istio "+i.name+", "+policy, func(t *testing.T) {
				l := newLab(t)
				l.writeIstio(i)
				l.addGuest()
				l.writeKubeVirt(annotated)
				l.startServers()
				for _, p := range []int{heldMesh, heldDirect, heldClosing} {
					l.serveTCP(l.guest, guestIP, p, hold(serverGuest))
				}
				for _, p := range []int{heldCaptured, heldExcluded} {
					l.serveTCP(l.peer, outsideIP, p, hold(serverOutside))
				}
				l.apply(heldPlan())
				conns := make([]*bufio.ReadWriter, len(heldFlows))
				for n, f := range heldFlows {
					conns[n] = l.open(t, f)
				}
				r := l.handle(ruleio.Target{
					Operation: ruleio.OperationApply, PodUID: podUID, PodIPs: []string{podIP}, Plan: new(changedPlan()), Reset: reset,
				})
				if r.Outcome != ruleio.OutcomeApplied || (r.ResetFlows > 0) != reset {
					t.Fatalf("ended with %s (%s), %d flows reset", r.Outcome, r.Message, r.ResetFlows)
				}
				for n, f := range heldFlows {
					if alive, want := echoes(conns[n]), !reset || !f.affected; alive != want {
						t.Errorf("%s: alive is %v, want %v", f.name, alive, want)
					}
				}
				again := l.handle(ruleio.Target{
					Operation: ruleio.OperationApply, PodUID: podUID, PodIPs: []string{podIP}, Plan: new(changedPlan()), Reset: reset,
				})
				if again.ResetFlows != 0 {
					t.Errorf("writing the same table again reset %d flows", again.ResetFlows)
				}
			})
		}
	}
}

// open opens a connection and waits until its server answered.
func (l *lab) open(t *testing.T, f held) *bufio.ReadWriter {
	t.Helper()
	var c net.Conn
	l.in(f.from(l), func() error {
		var err error
		c, err = net.DialTimeout("tcp4", net.JoinHostPort(f.host, strconv.Itoa(f.port)), waitLimit)
		return err
	})
	t.Cleanup(func() { _ = c.Close() })
	if err := c.SetDeadline(time.Now().Add(waitLimit)); err != nil {
		t.Fatal(err)
	}
	rw := bufio.NewReadWriter(bufio.NewReader(c), bufio.NewWriterSize(c, 16))
	for {
		line, err := rw.ReadString('\n')
		if err != nil {
			t.Fatalf("%s: %v", f.name, err)
		}
		if len(line) > 6 && line[:6] == "server" {
			return rw
		}
	}
}

// echoes says whether the connection still carries data both ways.
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

// TestTrackedFlow sends datagrams of one flow under plans that treat it
// otherwise. It found that random plans disagreed with their model whenever two
// probes happened to come from the same port.
func TestTrackedFlow(t *testing.T) {
	l := newLab(t, ipv4, ipv6)
	l.writeIstio(istioNftables)
	l.addGuest()
	l.writeKubeVirt(annotatedWithoutList)
	l.startServers()
	open := planOf(l.families...)
	closed := planOf(l.families...)
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
			l.apply(open)
			l.handle(l.reset(closed))
			l.expect(t, tracked, refused)
		})
	}
}

// reset is the target that applies a plan and resets the flows it affects.
func (l *lab) reset(p ruleio.Plan) ruleio.Target {
	return ruleio.Target{Operation: ruleio.OperationApply, PodUID: podUID, PodIPs: l.podIPs(), Plan: &p, Reset: true}
}
