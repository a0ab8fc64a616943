// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"
)

// pings is the number of the last echo request, so that each request is a
// separate flow.
var pings atomic.Uint32

// ping sends an ICMP echo request and waits for its reply.
func (l *lab) ping(p probe, limit time.Duration) outcome {
	l.t.Helper()
	v6 := familyOf(p.host).number == ipv6.number
	request, reply := byte(8), byte(0) // RFC 792
	if v6 {
		request, reply = 128, 129 // RFC 4443. The kernel computes the checksum.
	}
	var c *net.IPConn
	l.in(p.from(l), func() error {
		var err error
		network := "ip4:icmp"
		if v6 {
			network = "ip6:ipv6-icmp"
		}
		c, err = net.DialIP(network, nil, &net.IPAddr{IP: net.ParseIP(p.host)})
		return err
	})
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		l.t.Fatal(err)
	}
	// Type, code 0, checksum, identifier and sequence number.
	id := uint16(pings.Add(1)) //nolint:gosec // It may wrap around.
	message := []byte{request, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}
	sum := uint32(0)
	for i := 0; i < len(message); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(message[i:]))
	}
	binary.BigEndian.PutUint16(message[2:], ^uint16(sum+sum>>16))
	if _, err := c.Write(message); err != nil {
		return outcome{Failure: reason(err)}
	}
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b) // Without the IP header.
		if err != nil {
			return outcome{Failure: reason(err)}
		}
		if n >= 8 && b[0] == reply && binary.BigEndian.Uint16(b[4:]) == id {
			return outcome{Server: "echo"}
		}
	}
}
