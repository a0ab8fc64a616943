// SPDX-License-Identifier: Apache-2.0

// Package conntrack lists and deletes the flows that the kernel tracks in the
// network namespace of the calling thread.
package conntrack

import (
	"errors"
	"net/netip"
)

// ErrUnsupported means that the operating system tracks no flows.
var ErrUnsupported = errors.New("connection tracking needs Linux")

// Tuple is one direction of a flow.
type Tuple struct {
	// Source and Destination are the addresses, with ports where the
	// protocol has them.
	Source, Destination netip.AddrPort
}

// Flow is a tracked flow.
type Flow struct {
	// Protocol is the number of the transport protocol (RFC 5237 registry).
	Protocol byte
	// Original is the direction of the first packet, before translation.
	Original Tuple
	// Reply is the other direction: its source is where the first packet went
	// after translation.
	Reply Tuple
	// Mark is the connection's mark, and Zone its conntrack zone, 0 for none.
	Mark uint32
	Zone uint16

	// identity are the attributes by which the kernel finds the flow again.
	identity []attribute
}

// attribute is an attribute of a netlink message, as it came.
type attribute struct {
	kind uint16
	data []byte
}
