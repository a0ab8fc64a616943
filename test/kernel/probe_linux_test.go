// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"meshvm.io/meshvm/internal/netns"
)

// absenceLimit is the time to wait for an answer that must not arrive. Labs do
// not lose packets, so only rules can delay an answer.
const absenceLimit = 500 * time.Millisecond

// probe is one connection.
type probe struct {
	// name is a description for users.
	name string
	// from selects the network namespace of the client.
	from func(*lab) *netns.Namespace
	// network is "tcp4", "udp4", the same with 6, or "icmp", which does not
	// have ports.
	network string
	host    string
	port    uint16
	// source is the client's address. If empty, the kernel selects it.
	source string
	// sourcePort is the client's port. If 0, it is a port that no other probe
	// uses.
	sourcePort int
	// tunnel means that the client connects to ztunnel's port 15008 and
	// requests a connection to host and port.
	tunnel bool
}

// Source ports of probes are above the ports of servers and below the ephemeral
// ports of the kernel, so that no two probes belong to the same flow. The
// second packet of a flow would take the path of the first, regardless of the
// current rules.
const (
	firstSourcePort = 20000
	sourcePorts     = 32768 - firstSourcePort
)

// nextSourcePort returns a port that no other probe of the lab uses or has used
// recently.
func (l *lab) nextSourcePort() int {
	return firstSourcePort + int(l.probes.Add(1)-1)%sourcePorts
}

func fromPeer(l *lab) *netns.Namespace  { return l.peer }
func fromPod(l *lab) *netns.Namespace   { return l.pod }
func fromGuest(l *lab) *netns.Namespace { return l.guest }

// outcome is the outcome of a probe.
type outcome struct {
	// Proxy is the capture port of the proxy that accepted the connection, if
	// any.
	Proxy string
	// Original is the destination that the proxy determined.
	Original string
	// Server is the server that answered, if any.
	Server string
	// Client is the client's address according to the server.
	Client string
	// Failure is the reason for a missing answer.
	Failure string
}

// words returns the outcome in the words of the documentation.
func (o outcome) words() string {
	var parts []string
	if o.Proxy != "" {
		parts = append(parts, "proxy "+o.Proxy)
	}
	switch {
	case o == proven:
		parts = append(parts, "read back and compared")
	case o.Server == serverProxy:
		parts = append(parts, "the proxy itself answers")
	case o.Server != "" && o.Proxy != "":
		parts = append(parts, o.Server)
	case o.Server != "":
		parts = append(parts, o.Server+" directly")
	default:
		parts = append(parts, "**"+strings.ReplaceAll(o.Failure, "-", " ")+"**")
	}
	return strings.Join(parts, ", then ")
}

// run sends the probe and waits for its outcome.
func (l *lab) run(p probe, limit replyTimeout) outcome {
	l.t.Helper()
	switch p.network {
	case "icmp":
		return l.ping(p, limit.first)
	case networkRules:
		return l.rules(p)
	case networkInvalid:
		return l.sendInvalid(p, limit.first)
	}
	o, _ := l.send(p, limit)
	return o
}

// refusals is the number of attempts to observe the refusal of a datagram. The kernel limits
// the ICMP messages of all network namespaces together (ip-sysctl, icmp_msgs_per_sec), which
// parallel tests exceed.
const refusals = 4

// runFor sends a probe with the timeouts for the desired outcome. It repeats a datagram that
// is not answered although it is to be refused.
func (l *lab) runFor(want outcome, p probe) outcome {
	l.t.Helper()
	got := l.run(p, want.limit())
	for i := 1; i < refusals && want.Failure == refused.Failure && got == noAnswer && strings.HasPrefix(p.network, "udp"); i++ {
		got = l.run(p, want.limit())
	}
	return got
}

// send sends a TCP or UDP probe. local is its local address, or empty without a
// connection.
func (l *lab) send(p probe, limit replyTimeout) (o outcome, local string) {
	l.t.Helper()
	var c net.Conn
	datagram := strings.HasPrefix(p.network, "udp")
	sourcePort := p.sourcePort
	if sourcePort == 0 {
		sourcePort = l.nextSourcePort()
	}
	err := p.from(l).Do(func() error {
		var err error
		d := net.Dialer{Timeout: limit.first, LocalAddr: &net.TCPAddr{IP: net.ParseIP(p.source), Port: sourcePort}}
		if datagram {
			d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(p.source), Port: sourcePort}
		}
		port := p.port
		if p.tunnel {
			port = tunnelPort
		}
		c, err = d.Dial(p.network, net.JoinHostPort(p.host, strconv.Itoa(int(port))))
		return err
	})
	if err != nil {
		return outcome{Failure: reason(err)}, ""
	}
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(limit.first)); err != nil {
		l.t.Fatal(err)
	}
	if datagram {
		if _, err := c.Write([]byte("?")); err != nil {
			return outcome{Failure: reason(err)}, ""
		}
	}
	if p.tunnel {
		if _, err := fmt.Fprintf(c, "CONNECT %s\n", p.destination()); err != nil {
			return outcome{Failure: reason(err)}, ""
		}
	}
	return read(c, datagram, limit.rest), c.LocalAddr().String()
}

// replyTimeout is the time to wait for the first answer and, after the answer
// of the proxy, for the next.
type replyTimeout struct{ first, rest time.Duration }

// impatient uses short timeouts.
var impatient = replyTimeout{absenceLimit, absenceLimit}

// limit returns the timeout. It is longer for an answer that must arrive, for
// example a refusal, than for an answer that must not arrive.
func (o outcome) limit() replyTimeout {
	switch {
	case o.Failure != noAnswer.Failure:
		return replyTimeout{waitLimit, waitLimit}
	case o.Proxy != "":
		return replyTimeout{waitLimit, absenceLimit}
	default:
		return impatient
	}
}

// read parses the lines of the servers on the path.
func read(c net.Conn, datagram bool, rest time.Duration) outcome {
	var o outcome
	lines := bufio.NewScanner(c)
	for lines.Scan() {
		words := strings.Fields(lines.Text())
		switch {
		case len(words) == 3 && words[0] == "proxy":
			o.Proxy, o.Original = words[1], words[2]
			_ = c.SetDeadline(time.Now().Add(rest))
		case len(words) == 3 && words[0] == "server":
			o.Server, o.Client = words[1], words[2]
		case len(words) == 2 && words[0] == "failed":
			o.Failure = words[1]
		}
		if datagram {
			return o
		}
	}
	if err := lines.Err(); err != nil && o.Server == "" {
		o.Failure = reason(err)
	}
	if o.Server == "" && o.Failure == "" {
		o.Failure = "closed"
	}
	return o
}

// only returns the outcome of a probe that the proxy accepts and cannot
// forward.
func (p probe) only(port string) outcome {
	return outcome{Proxy: port, Original: p.destination(), Failure: "refused"}
}

// expect runs the probe and compares the outcome.
func (l *lab) expect(t *testing.T, p probe, want outcome) {
	t.Helper()
	got := l.runFor(want, p)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", p, diff)
	}
}

// destination returns the destination of the probe as a proxy should determine
// it.
func (p probe) destination() string {
	return netip.AddrPortFrom(netip.MustParseAddr(p.host), p.port).String()
}

// through returns the outcome of a probe that the proxy forwards.
func (p probe) through(port, server, client string) outcome {
	return outcome{Proxy: port, Original: p.destination(), Server: server, Client: client}
}

// directly returns the outcome of a probe that bypasses the proxy.
func directly(server, client string) outcome {
	return outcome{Server: server, Client: client}
}

// refused returns the outcome of a probe to a closed port.
var refused = outcome{Failure: "refused"}

// noAnswer returns the outcome of a probe whose packets are dropped.
var noAnswer = outcome{Failure: "no-answer"}

func (p probe) String() string {
	return fmt.Sprintf("%s (%s %s)", p.name, p.network, p.destination())
}
