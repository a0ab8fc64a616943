// SPDX-License-Identifier: Apache-2.0

// Package gate detects from inside a pod, without privileges, whether a
// verified table of meshvm is active in the pod's network namespace.
//
// It detects the table by a packet. Only a verified table has a rule in the
// output hook that redirects a connection from 127.0.0.1 to 127.0.0.1:Port to
// 127.0.0.1:AnswerPort. Check listens on AnswerPort, connects to Port, and
// accepts only its own connection as an answer. Other servers cannot produce
// this answer: neither a proxy that accepts all connections, nor a guest to
// which other rules forward 127.0.0.1 if meshvm's rules are missing.
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

// limit is the timeout of one check, which uses only the local network
// namespace.
const limit = time.Second

// ErrShut means that the connection was not redirected: the table does not
// exist or is not verified.
var ErrShut = errors.New("the rules of this pod are missing or not verified")

// Check returns nil if the gate is open.
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
		// The handshake is complete, so the connection is already in the queue.
		got, err := l.Accept()
		if err != nil {
			return fmt.Errorf("%w: the connection was accepted by another server", ErrShut)
		}
		if got.RemoteAddr().String() != c.LocalAddr().String() {
			abort(got)
			continue
		}
		// The last packet must be the client's reset. After a reset by the
		// server, connection tracking keeps the redirect for 10 seconds and
		// applies it to a new check with the same source port, even if the
		// rules are gone by then (net/netfilter/nf_conntrack_proto_tcp.c, case
		// TCP_CONNTRACK_SYN_SENT).
		abort(c)
		awaitReset(got, deadline)
		abort(got)
		return nil
	}
}

// awaitReset returns when the peer's reset has arrived.
func awaitReset(c net.Conn, deadline time.Time) {
	if c.SetReadDeadline(deadline) == nil {
		_, _ = c.Read(make([]byte, 1))
	}
}

// abort closes a connection without the TIME_WAIT state.
func abort(c net.Conn) {
	if t, ok := c.(*net.TCPConn); ok {
		_ = t.SetLinger(0)
	}
	_ = c.Close()
}

func loopback(port uint16) string {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), port).String()
}
