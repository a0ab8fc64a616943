// SPDX-License-Identifier: Apache-2.0

// Command proxystandin replaces Envoy on machines for which no Envoy binary
// exists. Istio's pilot-agent starts it in the virt-launcher pod, on Envoy's
// ports. It is not a mesh proxy: it does not support mTLS or configuration. It
// forwards bytes and writes an access log, so that tests can check whether the
// NAT redirected a connection to it:
//
//	15006  inbound: forwards to the original destination, from source address
//	       127.0.0.6, as Envoy's inbound passthrough cluster does
//	15001  outbound: forwards to the original destination
//	15021, 15090  health and statistics: respond with 200
//	15000  the part of Envoy's administration API that pilot-agent uses
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// record is a line of the access log, with the names of
// test/cluster/manifests/istiod-values.yaml.
type record struct {
	Listener      string `json:"listener"`
	Source        string `json:"source"`
	Original      string `json:"original"` // the destination before the NAT
	Cluster       string `json:"cluster"`
	Upstream      string `json:"upstream,omitempty"`
	UpstreamLocal string `json:"upstreamLocal,omitempty"`
	Failure       string `json:"failure,omitempty"`
}

// listener is one of the proxy's two ports for redirected connections.
type listener struct {
	net.Listener
	port     int
	from     *net.TCPAddr // source of the forwarded connection, or nil for any address
	accepted atomic.Int64
}

// stats implements the parts of Envoy's statistics that pilot-agent and the
// tests read.
func stats(listeners []*listener) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "cluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\n"+
			"listener_manager.workers_started: 1\nserver.state: 0\n")
		for _, l := range listeners {
			_, _ = fmt.Fprintf(w, "listener.0.0.0.0_%d.downstream_cx_total: %d\n", l.port, l.accepted.Load())
		}
	}
}

func main() {
	if slices.Contains(os.Args, "--version") {
		fmt.Println("envoy  version: 0/0.0.0-stand-in/Clean/RELEASE/none")
		return
	}
	// Envoy's inbound passthrough cluster binds to this address. Istio's rules use
	// it to identify packets from the proxy.
	listeners := []*listener{{port: 15006, from: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 6)}}, {port: 15001}}
	for _, l := range listeners {
		var err error
		if l.Listener, err = net.Listen("tcp4", fmt.Sprintf(":%d", l.port)); err != nil {
			log.Fatal(err)
		}
		go l.serve()
	}
	ok := http.NewServeMux()
	ok.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "stand-in of Envoy") })
	for _, port := range []string{"15021", "15090"} {
		go func() { log.Fatal(http.ListenAndServe(":"+port, ok)) }() //nolint:gosec // a test's server
	}
	ok.HandleFunc("/stats", stats(listeners))
	log.Fatal(http.ListenAndServe("127.0.0.1:15000", ok)) //nolint:gosec // a test's server
}

func (l *listener) serve() {
	for {
		c, err := l.Accept()
		if err != nil {
			log.Fatal(err)
		}
		l.accepted.Add(1)
		go l.handle(c.(*net.TCPConn))
	}
}

// handle forwards one connection to its original destination.
func (l *listener) handle(c *net.TCPConn) {
	defer c.Close() //nolint:errcheck // both sides are done
	r := record{Listener: c.LocalAddr().String(), Source: c.RemoteAddr().String(), Cluster: "stand-in"}
	peer, err := l.dial(c, &r)
	if err != nil {
		r.Failure = err.Error()
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
	if err == nil {
		join(c, peer)
		_ = peer.Close()
	}
}

func (l *listener) dial(c *net.TCPConn, r *record) (*net.TCPConn, error) {
	dst, err := original(c)
	if err != nil {
		return nil, fmt.Errorf("no original destination: %w", err)
	}
	if r.Original = dst.String(); r.Original == r.Listener {
		return nil, errors.New("rejected: the connection was opened to this port and not redirected")
	}
	peer, err := net.DialTCP("tcp4", l.from, net.TCPAddrFromAddrPort(dst))
	if err != nil {
		return nil, err
	}
	r.Upstream, r.UpstreamLocal = peer.RemoteAddr().String(), peer.LocalAddr().String()
	return peer, nil
}

// join copies data in both directions and forwards the end of each stream.
func join(a, b *net.TCPConn) {
	var wg sync.WaitGroup
	for _, pair := range [][2]*net.TCPConn{{a, b}, {b, a}} {
		wg.Go(func() {
			_, _ = io.Copy(pair[0], pair[1])
			_ = pair[0].CloseWrite()
		})
	}
	wg.Wait()
}

// original returns the destination of the connection before the redirect,
// according to conntrack. The kernel writes a sockaddr_in. IPv6Mreq is a struct
// of sufficient size.
func original(c *net.TCPConn) (netip.AddrPort, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return netip.AddrPort{}, err
	}
	var out netip.AddrPort
	var optErr error
	err = raw.Control(func(fd uintptr) {
		var m *unix.IPv6Mreq
		if m, optErr = unix.GetsockoptIPv6Mreq(int(fd), unix.SOL_IP, unix.SO_ORIGINAL_DST); optErr != nil {
			optErr = errors.New("SO_ORIGINAL_DST: " + optErr.Error())
			return
		}
		b := m.Multiaddr
		address := fmt.Sprintf("%d.%d.%d.%d:%s", b[4], b[5], b[6], b[7], strconv.Itoa(int(b[2])<<8|int(b[3])))
		out, optErr = netip.ParseAddrPort(address)
	})
	return out, errors.Join(err, optErr)
}
