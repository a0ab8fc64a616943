package kernel

import (
	"encoding/binary"
	"net"
	"sync/atomic"
	"time"
)

// pings numbers the echo requests, so that each is a flow of its own.
var pings atomic.Uint32

// ping sends an ICMP echo request and waits for its reply.
func (l *lab) ping(p probe, limit time.Duration) outcome {
	l.t.Helper()
	var c *net.IPConn
	l.in(p.from(l), func() error {
		var err error
		c, err = net.DialIP("ip4:icmp", nil, &net.IPAddr{IP: net.ParseIP(p.host)})
		return err
	})
	defer func() { _ = c.Close() }()
	if err := c.SetDeadline(time.Now().Add(limit)); err != nil {
		l.t.Fatal(err)
	}
	// Type 8, code 0, checksum, identifier and sequence number (RFC 792).
	id := uint16(pings.Add(1)) //nolint:gosec // It may begin anew.
	request := []byte{8, 0, 0, 0, byte(id >> 8), byte(id), 0, 1}
	sum := uint32(0)
	for i := 0; i < len(request); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(request[i:]))
	}
	binary.BigEndian.PutUint16(request[2:], ^uint16(sum+sum>>16))
	if _, err := c.Write(request); err != nil {
		return outcome{Failure: reason(err)}
	}
	b := make([]byte, 1500)
	for {
		n, _, err := c.ReadFrom(b) // Without the IP header.
		if err != nil {
			return outcome{Failure: reason(err)}
		}
		if n >= 8 && b[0] == 0 && binary.BigEndian.Uint16(b[4:]) == id {
			return outcome{Server: "echo"}
		}
	}
}
