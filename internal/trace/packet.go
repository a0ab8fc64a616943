// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"net/netip"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// Protocol numbers (IANA, Assigned Internet Protocol Numbers).
const (
	numberICMP   = 1
	numberTCP    = 6
	numberUDP    = 17
	numberICMPv6 = 58
)

// Packet contains the fields of a packet in a trace message.
type Packet struct {
	nfnetlink.Tuple
	// ID is the identification field of IPv4 (RFC 791). It is 0 for IPv6.
	ID uint16
	// Sequence is the TCP sequence number (RFC 9293), which no translation
	// changes. For an ICMP echo it is identifier and sequence number.
	Sequence uint32
	// Length is the length of the packet, for IPv6 without the header.
	Length uint16
}

// fingerprint identifies a packet in all hooks. The kernel's trace ID does not,
// because it also depends on addresses and the interface (Linux,
// net/netfilter/nf_tables_trace.c). Addresses change between hooks. The fields
// of the fingerprint do not change, except for the source port in the last
// hook.
type fingerprint struct {
	protocol   uint8
	sourcePort uint16
	id         uint16
	sequence   uint32
	length     uint16
}

func (p Packet) fingerprint() fingerprint {
	f := fingerprint{protocol: p.Protocol, id: p.ID, sequence: p.Sequence, length: p.Length}
	if p.Protocol != numberTCP {
		f.sourcePort = p.Source.Port()
	}
	return f
}

// parsePacket parses the headers of a trace message
// (linux/netfilter/nf_tables.h, NFTA_TRACE_NETWORK_HEADER and
// NFTA_TRACE_TRANSPORT_HEADER). Headers can be truncated. Missing fields are
// zero.
func parsePacket(network, transport []byte) (Packet, bool) {
	var p Packet
	if len(network) == 0 {
		return p, false
	}
	var source, destination netip.Addr
	switch {
	case network[0]>>4 == 4 && len(network) >= 20:
		p.Length, p.ID = binary.BigEndian.Uint16(network[2:]), binary.BigEndian.Uint16(network[4:])
		p.Protocol = network[9]
		source, destination = netip.AddrFrom4([4]byte(network[12:16])), netip.AddrFrom4([4]byte(network[16:20]))
	case network[0]>>4 == 6 && len(network) >= 40:
		// IPv6 extension headers are not parsed, because first packets do not
		// have any.
		p.Length, p.Protocol = binary.BigEndian.Uint16(network[4:]), network[6]
		source, destination = netip.AddrFrom16([16]byte(network[8:24])), netip.AddrFrom16([16]byte(network[24:40]))
	default:
		return p, false
	}
	var sourcePort, destinationPort uint16
	switch p.Protocol {
	case numberTCP, numberUDP:
		if len(transport) >= 4 {
			sourcePort, destinationPort = binary.BigEndian.Uint16(transport), binary.BigEndian.Uint16(transport[2:])
		}
		if p.Protocol == numberTCP && len(transport) >= 8 {
			p.Sequence = binary.BigEndian.Uint32(transport[4:])
		}
	case numberICMP, numberICMPv6:
		if len(transport) >= 8 {
			sourcePort = binary.BigEndian.Uint16(transport[4:])
			destinationPort = sourcePort
			p.Sequence = binary.BigEndian.Uint32(transport[4:])
		}
	}
	p.Source, p.Destination = netip.AddrPortFrom(source, sourcePort), netip.AddrPortFrom(destination, destinationPort)
	return p, true
}

// protocolName returns the name of a protocol in nft.
func protocolName(number uint8) string {
	switch number {
	case numberTCP:
		return string(ProtocolTCP)
	case numberUDP:
		return string(ProtocolUDP)
	case numberICMP:
		return string(ProtocolICMP)
	case numberICMPv6:
		return string(ProtocolICMPv6)
	default:
		return "other"
	}
}
