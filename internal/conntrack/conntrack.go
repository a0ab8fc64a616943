// SPDX-License-Identifier: Apache-2.0

// Package conntrack lists and deletes tracked flows in the network namespace of
// the calling thread.
package conntrack

import (
	"errors"
	"net/netip"
)

// ErrUnsupported means that the operating system does not support connection
// tracking.
var ErrUnsupported = errors.New("connection tracking requires Linux")

// Tuple is one direction of a flow.
type Tuple struct {
	// Source and Destination are the addresses, with ports if the protocol has
	// ports.
	Source, Destination netip.AddrPort
}

// Flow is a tracked flow.
type Flow struct {
	// Protocol is the number of the transport protocol (RFC 5237 registry).
	Protocol byte
	// Original is the direction of the first packet, before translation.
	Original Tuple
	// Reply is the direction of answers. Its source is the destination of the
	// first packet after translation.
	Reply Tuple
	// Mark is the mark of the connection. Zone is its conntrack zone, or 0.
	Mark uint32
	Zone uint16

	// identity are the attributes that identify the flow in the kernel.
	identity []attribute
}

// attribute is an encoded attribute of a netlink message.
type attribute struct {
	kind uint16
	data []byte
}
