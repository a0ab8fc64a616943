// SPDX-License-Identifier: Apache-2.0

package gate

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// serve listens on a free port and relays connections to another port if it is
// not 0.
func serve(t *testing.T, relayTo uint16) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			if relayTo != 0 {
				if up, err := net.Dial("tcp4", loopback(relayTo)); err == nil {
					_, _ = io.Copy(up, c)
					_ = up.Close()
				}
			}
			_ = c.Close()
		}
	}()
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func freePort(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // it only chose a port
	return l.Addr().(*net.TCPAddr).AddrPort().Port()
}

func TestCheck(t *testing.T) {
	answer := freePort(t)
	for name, tc := range map[string]struct {
		port uint16
		want error
	}{
		// Replaces the redirect rule: both ports are the same.
		"the connection comes back":          {answer, nil},
		"no server":                          {freePort(t), ErrShut},
		"another server answers":             {serve(t, 0), ErrShut},
		"a server relays it, as a proxy may": {serve(t, answer), ErrShut},
	} {
		t.Run(name, func(t *testing.T) {
			if err := check(t.Context(), tc.port, answer); !errors.Is(err, tc.want) {
				t.Errorf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func TestWatch(t *testing.T) {
	const open, shut = true, false
	for name, tc := range map[string]struct {
		seen []bool
		ends bool
	}{
		"never open":                       {[]bool{shut, shut, shut, shut, shut}, false},
		"opens and stays":                  {[]bool{shut, open, open, open}, false},
		"shut while the rules are changed": {[]bool{open, shut, shut, open, shut, shut, open}, false},
		"shut permanently":                 {[]bool{shut, open, shut, shut, shut}, true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			tick := make(chan time.Time, len(tc.seen))
			for range tc.seen {
				tick <- time.Time{}
			}
			seen := slices.Clone(tc.seen)
			err := Watch(ctx, tick, func(context.Context) error {
				if len(seen) == 0 {
					cancel()
					return ErrShut
				}
				now := seen[0]
				seen = seen[1:]
				if now == shut {
					return ErrShut
				}
				return nil
			})
			if (err != nil) != tc.ends || err != nil && !errors.Is(err, ErrShut) {
				t.Errorf("ended with %v, want an error: %t", err, tc.ends)
			}
		})
	}
}

func TestWait(t *testing.T) {
	tick := make(chan time.Time, 3)
	for range cap(tick) {
		tick <- time.Time{}
	}
	left := 3
	check := func(context.Context) error {
		if left--; left >= 0 {
			return ErrShut
		}
		return nil
	}
	if err := Wait(t.Context(), tick, check); err != nil || left != -1 {
		t.Errorf("ended with %v, %d checks left", err, left)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Wait(ctx, nil, func(context.Context) error { return ErrShut }); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v although the gate is shut", err)
	}
}
