// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/netns"
)

// raw opens a raw socket of a protocol in a network namespace.
func (l *lab) raw(ns *netns.Namespace, f family, protocol int) int {
	l.t.Helper()
	domain := unix.AF_INET
	if f.number == ipv6.number {
		domain = unix.AF_INET6
	}
	fd := -1
	l.in(ns, func() (err error) {
		fd, err = unix.Socket(domain, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
		return err
	})
	l.t.Cleanup(func() { _ = unix.Close(fd) })
	return fd
}

// inject sends packets with their IP headers from the guest. It returns the errors of
// packets that the guest's own kernel refuses.
func (l *lab) inject(all []hostile) error {
	l.t.Helper()
	fds := map[string]int{}
	for _, f := range l.families {
		fds[f.number] = l.raw(l.guest, f, unix.IPPROTO_RAW)
	}
	var errs []error
	for _, h := range all {
		for _, p := range h.packets {
			var to unix.Sockaddr
			if a := netip.MustParseAddr(h.dst); a.Is4() {
				to = &unix.SockaddrInet4{Addr: a.As4()}
			} else {
				to = &unix.SockaddrInet6{Addr: a.As16()}
			}
			if err := unix.Sendto(fds[h.f.number], p, 0, to); err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", h.name, err))
			}
		}
	}
	return errors.Join(errs...)
}

// sniffer collects the numbers of packets that are delivered to a network namespace.
// Raw sockets receive a packet after all hooks of netfilter, whether or not a program
// listens on its port.
type sniffer struct {
	mu   sync.Mutex
	seen map[uint32]bool
	// empty are the numbers of times at which each socket had no packet.
	empty []int
	stop  func()
}

func (l *lab) sniff(ns *netns.Namespace, protocols ...int) *sniffer {
	l.t.Helper()
	s := &sniffer{seen: map[uint32]bool{}}
	var all sync.WaitGroup
	var sockets []func()
	done := make(chan struct{})
	for _, f := range l.families {
		for _, protocol := range protocols {
			fd := l.raw(ns, f, protocol)
			if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 50_000}); err != nil {
				l.t.Fatal(err)
			}
			if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
				l.t.Fatal(err)
			}
			socket := len(s.empty)
			s.empty = append(s.empty, 0)
			sockets = append(sockets, func() { s.read(socket, fd, done) })
		}
	}
	for _, read := range sockets {
		all.Go(read)
	}
	s.stop = sync.OnceFunc(func() { close(done); all.Wait() })
	l.t.Cleanup(s.stop)
	return s
}

func (s *sniffer) read(socket, fd int, done <-chan struct{}) {
	b := make([]byte, 2048)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if err != nil {
			if errors.Is(err, unix.EAGAIN) {
				s.mu.Lock()
				s.empty[socket]++
				s.mu.Unlock()
			}
			select {
			case <-done:
				return
			default:
				continue
			}
		}
		if i := bytes.Index(b[:n], []byte(marker)); i >= 0 && n >= i+len(marker)+4 {
			s.mu.Lock()
			s.seen[binary.BigEndian.Uint32(b[i+len(marker):])] = true
			s.mu.Unlock()
		}
	}
}

// delivered returns the packets that were delivered within the limit. On a busy machine,
// the sockets still contain packets then, so it waits until each socket is empty: a
// packet that is read later would be counted as a packet of the next rules.
func (s *sniffer) delivered(all []hostile, limit time.Duration) []hostile {
	time.Sleep(limit)
	s.mu.Lock()
	defer s.mu.Unlock()
	begin := slices.Clone(s.empty)
	for i := range begin {
		for s.empty[i] < begin[i]+2 { // The first can be of the time before.
			s.mu.Unlock()
			time.Sleep(10 * time.Millisecond) // The sniffers read the sockets in the background.
			s.mu.Lock()
		}
	}
	var out []hostile
	for _, h := range all {
		if s.seen[h.number] {
			out = append(out, h)
		}
	}
	clear(s.seen)
	return out
}

// settle is the time after which packets on a virtual link have certainly arrived.
const settle = 300 * time.Millisecond

// TestHostilePackets: a root user in the guest sends raw packets to the local ports of
// the pod: to every port of the proxies, over TCP and UDP, with the addresses of
// others, in fragments, with IP options and IPv6 extension headers. None is delivered
// with meshvm's rules.
func TestHostilePackets(t *testing.T) {
	need(t)
	for _, c := range columns() {
		if len(c.families) < 2 || c.kubevirt.name != annotated.name {
			continue
		}
		t.Run(c.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, c.families...)
			l.writeIstio(c.istio)
			l.addGuest()
			l.writeKubeVirt(c.kubevirt)
			all := hostilePackets(c.families)
			s := l.sniff(l.pod, protoTCP, protoUDP)
			if err := l.inject(all); err != nil {
				t.Log(err)
			}
			stock := s.delivered(all, settle)
			if len(stock) == 0 {
				t.Error("without meshvm no packet is delivered, so the test shows nothing")
			}
			l.apply(c.startPlan())
			_ = l.inject(all)
			for _, h := range s.delivered(all, settle) {
				t.Errorf("delivered in the pod: %s", h.name)
			}
			t.Logf("%d of %d packets are delivered without meshvm", len(stock), len(all))
			if c.istio.none {
				return
			}
			// A captured connection is delivered, to the proxy.
			captured := hostile{
				f: ipv4, dst: outsideIP, number: 9999,
				packets: [][]byte{inIP(guestIP, outsideIP, protoTCP, nil, segment(guestIP, outsideIP, webPort, flagSYN, 9999), 0)},
			}
			if err := l.inject([]hostile{captured}); err != nil {
				t.Fatal(err)
			}
			if len(s.delivered([]hostile{captured}, settle)) != 1 {
				t.Error("a captured connection was not seen, so the test shows nothing")
			}
		})
	}
}

// TestOtherProtocols: a guest whose unmeshed traffic is dropped sends protocols that
// the proxy does not carry, and packets with the addresses of others, to other hosts.
func TestOtherProtocols(t *testing.T) {
	need(t)
	l := newLab(t, ipv4, ipv6)
	l.writeIstio(istioIptables)
	l.addGuest()
	l.writeKubeVirt(withoutList)
	all := hostileToOutside(l.families)
	s := l.sniff(l.peer, protoTCP, protoUDP, protoSCTP, protoUDPLite, protoTest)
	send := func() []string {
		if err := l.inject(all); err != nil {
			t.Log(err)
		}
		var names []string
		for _, h := range s.delivered(all, settle) {
			names = append(names, h.name)
		}
		return names
	}
	stock := send()
	for _, name := range []string{"protocol 132 (IPv4)", "protocol 253 (IPv6)", "TCP with SYN and RST (IPv4)"} {
		if !slices.Contains(stock, name) {
			t.Errorf("without meshvm %s does not leave the pod, so the test shows nothing", name)
		}
	}
	t.Logf("without meshvm leave the pod: %s", strings.Join(stock, "; "))
	l.apply(planOf(l.families...))
	for _, name := range send() {
		if strings.HasPrefix(name, "TCP") {
			t.Errorf("leaves the pod although unmeshed traffic is allowed: %s", name)
		}
	}
	l.apply(unmeshedPlan(l.families...))
	for _, name := range send() {
		t.Errorf("leaves the pod although unmeshed traffic is dropped: %s", name)
	}
}

// hostileToOutside are packets to a server outside that no proxy carries.
func hostileToOutside(families []family) []hostile {
	var all []hostile
	for _, f := range families {
		for _, protocol := range []byte{protoSCTP, protoUDPLite, protoTest} {
			n := uint32(len(all) + 1) //nolint:gosec // Few.
			all = append(all, hostile{
				name: fmt.Sprintf("protocol %d (%s)", protocol, f.name), f: f, dst: f.outside, number: n,
				packets: [][]byte{inIP(f.guest, f.outside, protocol, nil, datagram(f.guest, f.outside, protocol, ntpPort, n), 0)},
			})
		}
		for _, src := range spoofedSources(f) {
			n := uint32(len(all) + 1) //nolint:gosec // Few.
			all = append(all, hostile{
				name: fmt.Sprintf("UDP from %s (%s)", src, f.name), f: f, dst: f.outside, number: n,
				packets: [][]byte{inIP(src, f.outside, protoUDP, nil, datagram(src, f.outside, protoUDP, ntpPort, n), 0)},
			})
		}
		all = append(all, contradicting(f, f.outside))
	}
	return all
}
