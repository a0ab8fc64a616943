// SPDX-License-Identifier: Apache-2.0

// Package gate shows from inside a pod, without any privilege, whether our table
// is in the kernel of this very network namespace and was verified.
//
// The table is seen by a packet. In its verified state, and in no other, it has
// a rule in the output hook that leads a connection from 127.0.0.1 to
// 127.0.0.1:Port to 127.0.0.1:AnswerPort. Check listens there, connects to
// Port, and takes nothing but its own connection for an answer. A server
// elsewhere cannot give it: not a proxy that accepts everything, and not a guest
// to which others' rules send 127.0.0.1 when ours are gone.
package gate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"meshvm.io/meshvm/internal/ruleio"
)

// limit bounds one check: all of it happens within one network namespace.
const limit = time.Second

// ErrShut means that the connection did not come back: there is no table, or
// one that was not verified.
var ErrShut = errors.New("the rules of this pod are not there, or were not verified")

// Check is nil when the gate is open.
func Check(ctx context.Context) error {
	return check(ctx, ruleio.GatePort, ruleio.GateAnswerPort)
}

func check(ctx context.Context, port, answerPort uint16) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp4", loopback(answerPort))
	if err != nil {
		return fmt.Errorf("listen for the answer: %w", err)
	}
	defer l.Close() //nolint:errcheck // nothing was written
	var d net.Dialer
	c, err := d.DialContext(ctx, "tcp4", loopback(port))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrShut, err)
	}
	defer abort(c)
	deadline, _ := ctx.Deadline()
	if t, ok := l.(*net.TCPListener); ok {
		if err := t.SetDeadline(deadline); err != nil {
			return err
		}
	}
	for {
		// The handshake is over, so the connection is in the queue already.
		got, err := l.Accept()
		if err != nil {
			return fmt.Errorf("%w: the connection ended somewhere else", ErrShut)
		}
		own := got.RemoteAddr().String() == c.LocalAddr().String()
		abort(got)
		if own {
			return nil
		}
	}
}

// abort ends a connection without the minute that TIME_WAIT would take.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func loopback(port uint16) string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String()
}
