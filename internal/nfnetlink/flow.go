// SPDX-License-Identifier: Apache-2.0

package nfnetlink

import (
	"net/netip"

	"github.com/mdlayher/netlink"
)

// Tuple is one direction of a flow. Connection tracking identifies a flow by it.
type Tuple struct {
	// Protocol is the number of the transport protocol (IANA, Assigned Internet
	// Protocol Numbers).
	Protocol uint8
	// Source and Destination are the addresses with ports. An ICMP echo has its
	// identifier in place of both ports. Other protocols have port 0.
	Source, Destination netip.AddrPort
}

// Numbers of the transport protocols with ports.
const (
	numberTCP = 6
	numberUDP = 17
)

// EndpointText returns the text of an address of the tuple: with its port if
// the protocol has ports.
func (t Tuple) EndpointText(a netip.AddrPort) string {
	if t.Protocol == numberTCP || t.Protocol == numberUDP {
		return a.String()
	}
	return a.Addr().String()
}

// String returns "source -> destination".
func (t Tuple) String() string {
	return t.EndpointText(t.Source) + " -> " + t.EndpointText(t.Destination)
}

// Flow is an entry of the connection tracking table.
type Flow struct {
	// Original is the direction of the first packet, before translation.
	Original Tuple
	// Reply is the direction of answers. Its source is the destination of the
	// first packet after translation.
	Reply Tuple
	// Status is a set of bits (linux/netfilter/nf_conntrack_common.h, enum
	// ip_conntrack_status).
	Status uint32
	// TCPState is the state of a TCP connection
	// (linux/netfilter/nf_conntrack_tcp.h, enum tcp_conntrack). It is 0 if the
	// kernel did not report a state.
	TCPState uint8
	// Mark is the mark of the connection. Zone is its conntrack zone, or 0.
	Mark uint32
	Zone uint16
	// Identity contains the encoded attributes that identify the entry in the
	// kernel.
	Identity []netlink.Attribute
}
