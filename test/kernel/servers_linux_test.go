// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/netns"
)

// Ports of the lab.
const (
	meshPort     = 8080
	directPort   = 9000 // also in Istio's excludeInboundPorts
	sshPort      = 22
	udpPort      = 5353
	closedPort   = 7777 // the guest listens, but the port is not listed
	latePort     = 8181 // not listed until the plan changes
	dnsPort      = 53
	resolverPort = 15053 // of the proxy, only on 127.0.0.1
	ntpPort      = 123
	webPort      = 443
	databasePort = 5432 // in the outbound exclusions
	// lateDatabasePort is excluded when the plan changes.
	lateDatabasePort = 5433
	inboundPort      = 15006
	outboundPort     = 15001
	healthPort       = 15021
	adminPort        = 15000 // only on 127.0.0.1
	statsPort        = 15090
	agentPort        = 15020
)

// Names of the servers in their answers.
const (
	serverGuest   = "guest"
	serverOutside = "outside"
	serverProxy   = "proxy"
)

// waitLimit is the time to wait for expected events on a busy machine.
const waitLimit = 20 * time.Second

// startServers starts the servers of the guest, the outside and the sidecar.
// They run until the end of the test.
func (l *lab) startServers() {
	l.t.Helper()
	l.startEndpoints()
	for _, f := range l.mesh {
		l.serveTCP(l.pod, f.wildcard, healthPort, answer(serverProxy))
		l.serveTCP(l.pod, f.loopback, adminPort, answer(serverProxy))
		l.standIns = append(l.standIns,
			l.serveTCP(l.pod, f.wildcard, inboundPort, l.standIn("15006", f.upstream)),
			l.serveTCP(l.pod, f.wildcard, outboundPort, l.standIn("15001", "")))
	}
}

// startEndpoints starts the servers of the guest and the outside.
func (l *lab) startEndpoints() {
	l.t.Helper()
	for _, f := range l.families {
		for _, p := range []int{meshPort, directPort, sshPort, closedPort, latePort} {
			l.serveTCP(l.guest, f.guest, p, answer(serverGuest))
		}
		for _, p := range []int{udpPort, closedPort} {
			l.serveUDP(l.guest, f.guest, p, serverGuest)
		}
		for _, p := range []int{dnsPort, ntpPort, udpPort} {
			l.serveUDP(l.peer, f.outside, p, serverOutside)
		}
		l.serveUDP(l.peer, f.excluded, ntpPort, serverOutside)
		for _, p := range []int{webPort, databasePort, lateDatabasePort} {
			l.serveTCP(l.peer, f.wildcard, p, answer(serverOutside))
		}
	}
}

// serveTCP serves until stop or the end of the test.
func (l *lab) serveTCP(ns *netns.Namespace, host string, port int, serve func(net.Conn)) (stop func()) {
	l.t.Helper()
	var listener net.Listener
	l.in(ns, func() error {
		var err error
		listener, err = net.Listen(familyOf(host).tcp(), net.JoinHostPort(host, strconv.Itoa(port)))
		return err
	})
	return l.serve(listener, serve)
}

// serve serves a listener until stop or the end of the test.
func (l *lab) serve(listener net.Listener, serve func(net.Conn)) (stop func()) {
	l.t.Helper()
	var running sync.WaitGroup
	ctx, end := context.WithCancel(context.Background())
	stop = func() {
		_ = listener.Close()
		end()
		running.Wait()
	}
	l.t.Cleanup(stop)
	running.Go(func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			running.Go(func() {
				defer func() { _ = c.Close() }()
				// The connection was reset by the other end.
				defer context.AfterFunc(ctx, func() { _ = c.Close() })()
				serve(c)
			})
		}
	})
	return stop
}

// serveUDP answers each datagram with the server's name.
func (l *lab) serveUDP(ns *netns.Namespace, host string, port int, server string) {
	l.t.Helper()
	l.in(ns, func() error {
		l.serveUDPHere(host, port, server)
		return nil
	})
}

// serveUDPHere is serveUDP in the network namespace of the calling thread.
func (l *lab) serveUDPHere(host string, port int, server string) {
	l.t.Helper()
	conn, err := net.ListenPacket(familyOf(host).udp(), net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { _ = conn.Close() })
	go func() {
		b := make([]byte, 1500)
		for {
			_, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = conn.WriteTo([]byte(answerLine(server, from)), from)
		}
	}()
}

// answer returns the name of the server and the address of the client.
func answer(server string) func(net.Conn) {
	return func(c net.Conn) { _, _ = io.WriteString(c, answerLine(server, c.RemoteAddr())) }
}

func answerLine(server string, client net.Addr) string {
	host, _, _ := net.SplitHostPort(client.String())
	return fmt.Sprintf("server %s %s\n", server, host)
}

// standIn serves one of the proxy's two capture ports. It sends the capture
// port and the original destination to the client, connects to the original
// destination as the proxy's user, and forwards the answer.
func (l *lab) standIn(name, upstreamFrom string) func(net.Conn) {
	return func(c net.Conn) {
		to, err := originalDestination(c)
		if err != nil {
			_, _ = fmt.Fprintf(c, "failed %v\n", err)
			return
		}
		_, _ = fmt.Fprintf(c, "proxy %s %s\n", name, to)
		passOn(c, func(ctx context.Context) (net.Conn, error) { return l.dialAsProxy(ctx, upstreamFrom, to) })
	}
}

// passOn connects and forwards data in both directions until one end closes the
// connection. It stops connecting if the client disconnects.
func passOn(c net.Conn, dial func(context.Context) (net.Conn, error)) {
	ctx, cancel := context.WithTimeout(context.Background(), waitLimit)
	defer cancel()
	said, client := io.Pipe()
	defer func() { _ = said.Close() }()
	go func() {
		_, _ = io.Copy(client, c)
		_ = client.Close()
		cancel()
	}()
	upstream, err := dial(ctx)
	if err != nil {
		_, _ = fmt.Fprintf(c, "failed %s\n", reason(err))
		return
	}
	defer func() { _ = upstream.Close() }()
	go func() {
		_, _ = io.Copy(upstream, said)
		_ = upstream.Close()
	}()
	_, _ = io.Copy(c, upstream)
}

func (l *lab) dialAsProxy(ctx context.Context, from string, to netip.AddrPort) (net.Conn, error) {
	var d net.Dialer
	if from != "" {
		d.LocalAddr = &net.TCPAddr{IP: net.ParseIP(from)}
	}
	var c net.Conn
	err := l.pod.Do(func() error {
		return asUser(proxyUID, func() error {
			var err error
			c, err = d.DialContext(ctx, familyOf(to.Addr().String()).tcp(), to.String())
			return err
		})
	})
	return c, err
}

// asUser runs f with another file system user on the current thread, which is
// locked. Netfilter's skuid matches the file system user of the thread that
// created the socket. The network capabilities of the thread do not change.
func asUser(uid int, f func() error) error { return as(uid, unix.SetfsuidRetUid, f) }

// asGroup is asUser for the group, which skgid matches.
func asGroup(gid int, f func() error) error { return as(gid, unix.SetfsgidRetGid, f) }

func as(id int, set func(int) (int, error), f func() error) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	before, err := set(id)
	if err != nil {
		return err
	}
	defer func() { _, _ = set(before) }()
	// setfsuid(2) and setfsgid(2) do not report errors. Setting an invalid ID
	// returns the current one.
	if now, err := set(-1); err != nil || now != id {
		return fmt.Errorf("not allowed to use user or group %d", id)
	}
	return f()
}

// originalDestination returns the destination of the connection before it was
// redirected (linux/netfilter_ipv4.h, SO_ORIGINAL_DST, and
// linux/netfilter_ipv6/ip6_tables.h, IP6T_SO_ORIGINAL_DST, which have the same
// number).
func originalDestination(c net.Conn) (netip.AddrPort, error) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return netip.AddrPort{}, errors.New("not a TCP connection")
	}
	raw, err := tcp.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	host, _, err := net.SplitHostPort(c.LocalAddr().String())
	if err != nil {
		return netip.AddrPort{}, err
	}
	var out netip.AddrPort
	var optErr error
	err = raw.Control(func(fd uintptr) {
		if familyOf(host).number == ipv6.number {
			// An ip6_mtuinfo starts with a struct sockaddr_in6.
			m, err := unix.GetsockoptIPv6MTUInfo(int(fd), unix.IPPROTO_IPV6, unix.SO_ORIGINAL_DST)
			if err != nil {
				optErr = err
				return
			}
			port := binary.BigEndian.Uint16(binary.NativeEndian.AppendUint16(nil, m.Addr.Port))
			out = netip.AddrPortFrom(netip.AddrFrom16(m.Addr.Addr), port)
			return
		}
		// A struct sockaddr_in fits into the 20 bytes of an ipv6_mreq.
		m, err := unix.GetsockoptIPv6Mreq(int(fd), unix.IPPROTO_IP, unix.SO_ORIGINAL_DST)
		if err != nil {
			optErr = err
			return
		}
		out = netip.AddrPortFrom(netip.AddrFrom4([4]byte(m.Multiaddr[4:8])), binary.BigEndian.Uint16(m.Multiaddr[2:4]))
	})
	return out, errors.Join(err, optErr)
}

// reason returns a one-word description of a connection error.
func reason(err error) string {
	var ne net.Error
	switch {
	case errors.Is(err, unix.ECONNREFUSED):
		return "refused"
	case errors.As(err, &ne) && ne.Timeout():
		return "no-answer"
	default:
		return strings.ReplaceAll(err.Error(), " ", "-")
	}
}
