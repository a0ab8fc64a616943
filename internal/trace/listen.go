// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"net/netip"
	"strconv"
	"strings"
)

// Socket states of /proc/net/tcp and /proc/net/udp (linux/tcp_states.h).
const (
	stateListen      = "0A" // TCP_LISTEN
	stateUnconnected = "07" // TCP_CLOSE, the state of a datagram socket without a peer
)

// Listeners are the sockets that accept new connections.
type Listeners struct {
	// TCP and UDP are the addresses of the sockets.
	TCP, UDP []netip.AddrPort
}

// Listens reports whether a socket receives traffic to the address. A socket on
// :: also receives IPv4.
func (l Listeners) Listens(protocol uint8, to netip.AddrPort) bool {
	sockets := l.TCP
	if protocol == numberUDP {
		sockets = l.UDP
	}
	for _, s := range sockets {
		a := s.Addr().Unmap()
		every := a.IsUnspecified() && (a.Is6() || to.Addr().Is4())
		if s.Port() == to.Port() && (every || a == to.Addr()) {
			return true
		}
	}
	return false
}

// parseSockets returns the sockets in one state from a file in the format of
// /proc/net/tcp (proc(5)). It ignores invalid lines.
func parseSockets(b []byte, state string) []netip.AddrPort {
	var out []netip.AddrPort
	lines := bufio.NewScanner(bytes.NewReader(b))
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 4 || fields[3] != state {
			continue
		}
		if a, ok := parseSocket(fields[1]); ok {
			out = append(out, a)
		}
	}
	return out
}

// parseSocket parses "0100007F:1F90": the address as words in host byte order,
// and the port.
func parseSocket(text string) (netip.AddrPort, bool) {
	host, port, found := strings.Cut(text, ":")
	b, err := hex.DecodeString(host)
	if !found || err != nil || (len(b) != 4 && len(b) != 16) {
		return netip.AddrPort{}, false
	}
	for i := 0; i < len(b); i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	n, err := strconv.ParseUint(port, 16, 16)
	a, ok := netip.AddrFromSlice(b)
	return netip.AddrPortFrom(a, uint16(n)), ok && err == nil
}
