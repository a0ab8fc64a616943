// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// hostile is a packet, or several, that a root user in the guest sends.
type hostile struct {
	name    string
	f       family
	dst     string
	packets [][]byte
	// number is in the payload, so that the packet is recognized after translation.
	number uint32
}

// marker precedes the number in the payload.
const marker = "meshvm-attack-"

func payload(number uint32) []byte { return binary.BigEndian.AppendUint32([]byte(marker), number) }

// Protocol numbers (IANA).
const (
	protoICMP    = 1
	protoTCP     = 6
	protoUDP     = 17
	protoICMPv6  = 58
	protoSCTP    = 132
	protoUDPLite = 136
	protoTest    = 253 // RFC 3692
)

// TCP flags (RFC 9293).
const (
	flagSYN = 0x02
	flagRST = 0x04
	flagACK = 0x10
	flagURG = 0x20
)

// segment returns a TCP segment. The source port is derived from the number, so that
// each is a separate flow.
func segment(src, dst string, port int, flags byte, number uint32) []byte {
	b := make([]byte, 20)
	binary.BigEndian.PutUint16(b[0:], uint16(30000+number%30000))
	binary.BigEndian.PutUint16(b[2:], uint16(port)) //nolint:gosec // A port.
	binary.BigEndian.PutUint32(b[4:], number)
	b[12], b[13], b[14] = 5<<4, flags, 0xff
	b = slices.Concat(b, payload(number))
	binary.BigEndian.PutUint16(b[16:], checksum(src, dst, protoTCP, b))
	return b
}

// datagram returns a UDP datagram, or one of UDP-Lite, whose header is the same if the
// checksum covers everything.
func datagram(src, dst string, protocol byte, port int, number uint32) []byte {
	b := make([]byte, 8)
	binary.BigEndian.PutUint16(b[0:], uint16(30000+number%30000))
	binary.BigEndian.PutUint16(b[2:], uint16(port)) //nolint:gosec // A port.
	b = slices.Concat(b, payload(number))
	binary.BigEndian.PutUint16(b[4:], uint16(len(b))) //nolint:gosec // Short.
	binary.BigEndian.PutUint16(b[6:], checksum(src, dst, protocol, b))
	return b
}

// checksum is the checksum of the transport protocols with their pseudo header.
func checksum(src, dst string, protocol byte, b []byte) uint16 {
	pseudo := slices.Concat(netip.MustParseAddr(src).AsSlice(), netip.MustParseAddr(dst).AsSlice())
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(len(b))) //nolint:gosec // Short.
	pseudo = binary.BigEndian.AppendUint32(pseudo, uint32(protocol))
	all := slices.Concat(pseudo, b)
	if len(all)%2 > 0 {
		all = append(all, 0)
	}
	sum := uint32(0)
	for i := 0; i < len(all); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(all[i:]))
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	return ^uint16(sum)
}

// inIP returns the packet of a transport payload. The kernel computes the header
// checksum of IPv4.
func inIP(src, dst string, protocol byte, options, b []byte, fragment uint16) []byte {
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	var h []byte
	if s.Is4() {
		h = make([]byte, 20+len(options))
		h[0] = 4<<4 | byte(len(h)/4)                             //nolint:gosec // At most 15.
		binary.BigEndian.PutUint16(h[2:], uint16(len(h)+len(b))) //nolint:gosec // Short.
		binary.BigEndian.PutUint16(h[4:], 4711)
		binary.BigEndian.PutUint16(h[6:], fragment)
		h[8], h[9] = 64, protocol
		copy(h[12:], s.AsSlice())
		copy(h[16:], d.AsSlice())
		copy(h[20:], options)
		return slices.Concat(h, b)
	}
	h = make([]byte, 40)
	h[0] = 6 << 4
	binary.BigEndian.PutUint16(h[4:], uint16(len(options)+len(b))) //nolint:gosec // Short.
	h[6], h[7] = protocol, 255
	copy(h[8:], s.AsSlice())
	copy(h[24:], d.AsSlice())
	return slices.Concat(h, options, b)
}

// fragments splits a transport payload into two packets, the first of 8 bytes, so that
// the first fragment of TCP has the ports and not the flags.
func fragments(f family, src, dst string, protocol byte, b []byte, number uint32) [][]byte {
	if f.number == ipv4.number {
		const more = 1 << 13
		return [][]byte{inIP(src, dst, protocol, nil, b[:8], more), inIP(src, dst, protocol, nil, b[8:], 1)}
	}
	const fragmentHeader = 44
	header := func(offset uint16) []byte {
		h := []byte{protocol, 0, 0, 0, 0, 0, 0, 0}
		binary.BigEndian.PutUint16(h[2:], offset)
		binary.BigEndian.PutUint32(h[4:], number)
		return h
	}
	return [][]byte{
		inIP(src, dst, fragmentHeader, header(1), b[:8], 0),
		inIP(src, dst, fragmentHeader, header(8), b[8:], 0),
	}
}

// networkInvalid is the network of probes that are a single TCP segment with the flags
// SYN and RST, which connection tracking assigns to no connection.
const networkInvalid = "invalid"

// invalids is the number of the last such segment.
var invalids atomic.Uint32

// contradicting returns a segment with contradicting flags to a server outside.
func contradicting(f family, dst string) hostile {
	number := 20000 + invalids.Add(1)
	return hostile{
		name: "TCP with SYN and RST (" + f.name + ")", f: f, dst: dst, number: number,
		packets: [][]byte{inIP(f.guest, dst, protoTCP, nil, segment(f.guest, dst, webPort, flagSYN|flagRST, number), 0)},
	}
}

// sendInvalid reports whether such a segment arrives outside.
func (l *lab) sendInvalid(p probe, limit time.Duration) outcome {
	l.t.Helper()
	s := l.sniff(l.peer, protoTCP)
	defer s.stop()
	h := contradicting(familyOf(p.host), p.host)
	if err := l.inject([]hostile{h}); err != nil {
		return outcome{Failure: reason(err)}
	}
	if len(s.delivered([]hostile{h}, limit)) > 0 {
		return outcome{Server: serverOutside}
	}
	return noAnswer
}

// proxyPorts are the ports of Istio's sidecar, of ztunnel and of the start gate.
var proxyPorts = []int{15000, outboundPort, 15004, inboundPort, 15008, agentPort, healthPort, resolverPort, statsPort, 15901, 15902}

// hostilePackets are packets for local ports of the pod, none of which a guest may
// reach.
func hostilePackets(families []family) []hostile {
	var out []hostile
	add := func(f family, name, dst string, build func(number uint32) [][]byte) {
		number := uint32(len(out) + 1) //nolint:gosec // Few.
		out = append(out, hostile{name: name + " (" + f.name + ")", f: f, dst: dst, packets: build(number), number: number})
	}
	for _, f := range families {
		for _, dst := range []string{f.gateway, f.pod, f.loopback, f.upstream} {
			for _, port := range proxyPorts {
				add(f, fmt.Sprintf("TCP to %s port %d", dst, port), dst, func(n uint32) [][]byte {
					return [][]byte{inIP(f.guest, dst, protoTCP, nil, segment(f.guest, dst, port, flagSYN, n), 0)}
				})
				add(f, fmt.Sprintf("UDP to %s port %d", dst, port), dst, func(n uint32) [][]byte {
					return [][]byte{inIP(f.guest, dst, protoUDP, nil, datagram(f.guest, dst, protoUDP, port, n), 0)}
				})
			}
			add(f, "fragments of TCP to "+dst, dst, func(n uint32) [][]byte {
				return fragments(f, f.guest, dst, protoTCP, segment(f.guest, dst, adminPort, flagSYN, n), n)
			})
			add(f, "fragments of UDP to "+dst, dst, func(n uint32) [][]byte {
				return fragments(f, f.guest, dst, protoUDP, datagram(f.guest, dst, protoUDP, resolverPort, n), n)
			})
			for _, flags := range []byte{flagACK, flagSYN | flagURG} {
				add(f, fmt.Sprintf("TCP with flags %#x to %s", flags, dst), dst, func(n uint32) [][]byte {
					return [][]byte{inIP(f.guest, dst, protoTCP, nil, segment(f.guest, dst, agentPort, flags, n), 0)}
				})
			}
		}
		for _, src := range spoofedSources(f) {
			for _, dst := range []string{f.gateway, f.pod, f.loopback} {
				add(f, "TCP from "+src+" to "+dst, dst, func(n uint32) [][]byte {
					return [][]byte{inIP(src, dst, protoTCP, nil, segment(src, dst, healthPort, flagSYN, n), 0)}
				})
				add(f, "UDP from "+src+" to "+dst, dst, func(n uint32) [][]byte {
					return [][]byte{inIP(src, dst, protoUDP, nil, datagram(src, dst, protoUDP, resolverPort, n), 0)}
				})
			}
		}
		out = append(out, withHeaders(f, len(out))...)
	}
	return out
}

// spoofedSources are addresses that are not the guest's: the pod's, the proxy's, that of
// a neighbor, of the kubelet, and of another host.
func spoofedSources(f family) []string {
	neighbor := map[string]string{ipv4.number: "10.0.2.77", ipv6.number: "fd10:0:2::77"}[f.number]
	return []string{f.pod, f.gateway, f.upstream, f.loopback, f.peer, f.kubelet, f.outside, neighbor}
}

// withHeaders are packets with IP options or extension headers in front of the
// transport header.
func withHeaders(f family, before int) []hostile {
	var headers map[string][]byte
	if f.number == ipv4.number {
		loopback := netip.MustParseAddr(f.loopback).AsSlice()
		headers = map[string][]byte{
			"loose source route to loopback":  append([]byte{131, 7, 4}, append(loopback, 0)...),
			"strict source route to loopback": append([]byte{137, 7, 4}, append(loopback, 0)...),
			"router alert":                    {148, 4, 0, 0},
		}
	} else {
		routing := append([]byte{protoTCP, 2, 0, 1, 0, 0, 0, 0}, netip.MustParseAddr(f.loopback).AsSlice()...)
		headers = map[string][]byte{
			"hop-by-hop options":    {0: protoTCP, 1: 0, 2: 1, 3: 4, 7: 0},
			"destination options":   {0: protoTCP, 1: 0, 2: 1, 3: 4, 7: 0},
			"routing header type 0": routing,
		}
	}
	var out []hostile
	for name, header := range headers {
		for _, dst := range []string{f.gateway, f.pod} {
			number := uint32(before + len(out) + 1) //nolint:gosec // Few.
			next := byte(protoTCP)
			if f.number == ipv6.number {
				next = map[string]byte{"hop-by-hop options": 0, "destination options": 60, "routing header type 0": 43}[name]
			}
			out = append(out, hostile{
				name: name + " to " + dst + " (" + f.name + ")", f: f, dst: dst, number: number,
				packets: [][]byte{inIP(f.guest, dst, next, header, segment(f.guest, dst, healthPort, flagSYN, number), 0)},
			})
		}
	}
	return out
}
