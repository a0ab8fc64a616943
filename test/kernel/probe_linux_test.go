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

// absenceLimit is how long a probe waits where nothing may come. Nothing in a
// lab loses packets, so that only rules can delay an answer.
const absenceLimit = 500 * time.Millisecond

// probe is one connection.
type probe struct {
	// name is what a user would call it.
	name string
	// from picks the namespace that the connection comes from.
	from func(*lab) *netns.Namespace
	// network is "tcp4", "udp4", the same with 6, or "icmp", which has no port.
	network string
	host    string
	port    uint16
	// source is the client's address, empty for any.
	source string
	// sourcePort is the client's port, 0 for one that no other probe has.
	sourcePort int
	// tunnel means that the client talks to ztunnel's port 15008, which it
	// asks for a connection to host and port.
	tunnel bool
}

// Source ports of probes lie above the servers' and below those that the kernel
// gives to sockets, so that no two probes are of one flow: the second would go
// the way on which the first began, whatever the rules are by then.
const (
	firstSourcePort = 20000
	sourcePorts     = 32768 - firstSourcePort
)

// nextSourcePort is one that no other probe of the lab has, or had lately.
func (l *lab) nextSourcePort() int {
	return firstSourcePort + int(l.probes.Add(1)-1)%sourcePorts
}

func fromPeer(l *lab) *netns.Namespace  { return l.peer }
func fromPod(l *lab) *netns.Namespace   { return l.pod }
func fromGuest(l *lab) *netns.Namespace { return l.guest }

// outcome is what became of a probe.
type outcome struct {
	// Proxy is the capture port of the proxy that took the connection,
	// empty if none did.
	Proxy string
	// Original is the destination that the proxy saw.
	Original string
	// Server is the server that answered, empty for none.
	Server string
	// Client is whom the server took for the client.
	Client string
	// Failure explains why there was no answer.
	Failure string
}

// words are the outcome as the documentation has it.
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
func (l *lab) run(p probe, limit patience) outcome {
	l.t.Helper()
	switch p.network {
	case "icmp":
		return l.ping(p, limit.first)
	case networkRules:
		return l.rules(p)
	}
	o, _ := l.send(p, limit)
	return o
}

// send sends a probe of TCP or UDP; local is the address that it had, empty if
// there was no connection.
func (l *lab) send(p probe, limit patience) (o outcome, local string) {
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

// patience is how long a probe waits for the first answer, and after the proxy's
// for the next.
type patience struct{ first, rest time.Duration }

// impatient waits for nothing that can be late.
var impatient = patience{absenceLimit, absenceLimit}

// limit is how long to wait: longer for an answer that must come, a refusal for
// example, than for one that must not.
func (o outcome) limit() patience {
	switch {
	case o.Failure != noAnswer.Failure:
		return patience{waitLimit, waitLimit}
	case o.Proxy != "":
		return patience{waitLimit, absenceLimit}
	default:
		return impatient
	}
}

// read parses the lines of the servers on the way.
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

// only is the outcome of a probe that the proxy takes and cannot pass on.
func (p probe) only(port string) outcome {
	return outcome{Proxy: port, Original: p.destination(), Failure: "refused"}
}

// expect runs the probe and compares.
func (l *lab) expect(t *testing.T, p probe, want outcome) {
	t.Helper()
	got := l.run(p, want.limit())
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", p, diff)
	}
}

// destination is where the probe goes, as a proxy should see it.
func (p probe) destination() string {
	return netip.AddrPortFrom(netip.MustParseAddr(p.host), p.port).String()
}

// through is the outcome of a probe that the proxy passes on.
func (p probe) through(port, server, client string) outcome {
	return outcome{Proxy: port, Original: p.destination(), Server: server, Client: client}
}

// directly is the outcome of a probe that no proxy sees.
func directly(server, client string) outcome {
	return outcome{Server: server, Client: client}
}

// refused is the outcome of a probe that meets a closed port.
var refused = outcome{Failure: "refused"}

// noAnswer is the outcome of a probe whose packets are dropped.
var noAnswer = outcome{Failure: "no-answer"}

func (p probe) String() string {
	return fmt.Sprintf("%s (%s %s)", p.name, p.network, p.destination())
}
