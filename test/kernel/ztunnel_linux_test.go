// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/ruleio"
)

// The rules of ambient mode that istio-cni writes into a pod that it enrolls.
var (
	ambientIptables = istio{name: "ambient, iptables", ambient: true}
	ambientNftables = istio{name: "ambient, nftables", ambient: true, native: true}
	// ambientBlind does not have the annotation
	// istio.io/reroute-virtual-interfaces.
	ambientBlind = istio{name: "ambient, iptables, without the bridge", ambient: true, blind: true}
)

// ambientArguments returns the arguments of the program that calls istio-cni's
// package (test/upstream/istio/cmd/ambient).
func ambientArguments(i istio, families []family) []string {
	var args []string
	if i.native {
		args = append(args, "-native-nftables")
	}
	if i.dns {
		args = append(args, "-dns")
	}
	if slices.Contains(families, ipv6) {
		args = append(args, "-ipv6")
	}
	if !i.blind {
		args = append(args, "-interfaces", bridge)
	}
	return args
}

// ambientPlan is planOf in ambient mode.
func ambientPlan(families ...family) ruleio.NATPlan {
	p := planOf(families...)
	p.DataPlane = ruleio.DataPlaneAmbient
	p.Proxy.LocalPorts = []uint16{outboundPort, inboundPort, tunnelPort, resolverPort}
	p.Inbound.DirectTCP = ruleio.Union(p.Inbound.DirectTCP, ruleio.Ports(latePort))
	return p
}

const (
	tunnelPort = 15008
	// ztunnelMark is the mark of ztunnel's sockets (Istio, cni/pkg/config).
	ztunnelMark = 0x539
)

// startZtunnel starts a stand-in for ztunnel in the pod's network namespace, in
// which ztunnel also has its sockets. It behaves like ztunnel as far as packet
// filters are concerned: all sockets have its mark, upstream sockets have its
// group, listeners and inbound upstream connections are transparent, and
// inbound upstream connections have the client's address as their source
// (ztunnel, src/proxy.rs, freebind_connect). It does not use TLS: on port 15008
// it reads the destination from a line "CONNECT ADDRESS:PORT".
func (l *lab) startZtunnel() {
	l.t.Helper()
	l.serveAsZtunnel(tunnelPort, func(c net.Conn) {
		line, err := bufio.NewReader(c).ReadString('\n')
		text, isConnect := strings.CutPrefix(strings.TrimSpace(line), "CONNECT ")
		to, parseErr := netip.ParseAddrPort(text)
		if err != nil || !isConnect || parseErr != nil {
			_, _ = fmt.Fprintf(c, "failed no-connect\n")
			return
		}
		l.passAsZtunnel(c, "15008", clientOf(c), to)
	})
	l.serveAsZtunnel(inboundPort, func(c net.Conn) { l.passCaptured(c, "15006", clientOf(c)) })
	l.serveAsZtunnel(outboundPort, func(c net.Conn) { l.passCaptured(c, "15001", netip.Addr{}) })
}

// startZtunnelResolver starts ztunnel's resolver, which listens on loopback
// (ztunnel, src/config.rs, dns_proxy_addr).
func (l *lab) startZtunnelResolver() {
	l.t.Helper()
	for _, f := range l.mesh {
		l.serveUDP(l.pod, f.loopback, resolverPort, serverProxy)
		l.serveTCP(l.pod, f.loopback, resolverPort, answer(serverProxy))
	}
}

func clientOf(c net.Conn) netip.Addr {
	if a, ok := c.RemoteAddr().(*net.TCPAddr); ok {
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// serveAsZtunnel listens on all addresses of the pod.
func (l *lab) serveAsZtunnel(port int, serve func(net.Conn)) {
	l.t.Helper()
	for _, f := range l.mesh {
		var listener net.Listener
		l.in(l.pod, func() error {
			var err error
			c := net.ListenConfig{Control: ztunnelSocket}
			listener, err = c.Listen(context.Background(), f.tcp(), net.JoinHostPort(f.wildcard, strconv.Itoa(port)))
			return err
		})
		l.serve(listener, serve)
	}
}

// ztunnelSocket sets ztunnel's mark on a socket and allows it to bind to
// foreign addresses.
func ztunnelSocket(network, _ string, c syscall.RawConn) error {
	var failure error
	set := func(fd uintptr, level, option, value int) {
		if failure == nil {
			failure = unix.SetsockoptInt(int(fd), level, option, value)
		}
	}
	err := c.Control(func(fd uintptr) {
		set(fd, unix.SOL_SOCKET, unix.SO_MARK, ztunnelMark)
		set(fd, unix.SOL_IP, unix.IP_TRANSPARENT, 1)
		set(fd, unix.SOL_IP, unix.IP_FREEBIND, 1)
		if !strings.HasSuffix(network, "4") {
			set(fd, unix.SOL_IPV6, unix.IPV6_TRANSPARENT, 1)
		}
	})
	if err != nil {
		return err
	}
	return failure
}

// passCaptured forwards a connection that was redirected to the stand-in.
func (l *lab) passCaptured(c net.Conn, name string, from netip.Addr) {
	to, err := originalDestination(c)
	if err != nil {
		_, _ = fmt.Fprintf(c, "failed %s\n", reason(err))
		return
	}
	if slices.Contains([]uint16{tunnelPort, inboundPort, outboundPort}, to.Port()) {
		// ztunnel rejects connections to itself (src/proxy, illegal_ports).
		_, _ = fmt.Fprintf(c, "proxy %s %s\nfailed self-call\n", name, to)
		return
	}
	l.passAsZtunnel(c, name, from, to)
}

// passAsZtunnel sends the capture port and the destination to the client,
// connects to the destination, from the given address if any, and forwards the
// answer.
func (l *lab) passAsZtunnel(c net.Conn, name string, from netip.Addr, to netip.AddrPort) {
	_, _ = fmt.Fprintf(c, "proxy %s %s\n", name, to)
	d := net.Dialer{Control: ztunnelSocket}
	if from.IsValid() && from != to.Addr() {
		d.LocalAddr = &net.TCPAddr{IP: from.AsSlice()}
	}
	passOn(c, func(ctx context.Context) (upstream net.Conn, err error) {
		err = l.pod.Do(func() error {
			return asGroup(proxyUID, func() error {
				var err error
				upstream, err = d.DialContext(ctx, familyOf(to.Addr().String()).tcp(), to.String())
				return err
			})
		})
		return upstream, err
	})
}

// addKubelet adds to the node the address that istio-cni's rules on the host
// assign to the kubelet's probes.
func (l *lab) addKubelet() {
	l.t.Helper()
	for _, f := range l.families {
		l.in(l.peer, func() error { return addTo("lo", f.kubelet, f.length) })
	}
}
