// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// receiveBuffer is the size of the sockets' receive buffers in bytes. Messages
// that exceed it are lost, which the kernel reports.
const receiveBuffer = 4 << 20

// conntrackGroups are the multicast groups of conntrack events.
var conntrackGroups = []uint32{unix.NFNLGRP_CONNTRACK_NEW, unix.NFNLGRP_CONNTRACK_UPDATE, unix.NFNLGRP_CONNTRACK_DESTROY}

// session is a running trace.
type session struct {
	ns    Namespace
	table *ownTable
	// traces and connections receive messages. requests sends requests for
	// dumps.
	traces, connections, requests *netlink.Conn
	lost                          atomic.Int64
	undecoded                     atomic.Int64
}

// open starts a trace in the calling thread's network namespace. It subscribes
// to messages before it writes the table. Sockets stay in the network namespace
// in which they were created.
func open(r Request) (*session, error) {
	s := &session{}
	err := s.open(r)
	if err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *session) open(r Request) (err error) {
	if s.traces, err = subscribe(unix.NFNLGRP_NFTRACE); err != nil {
		return fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if s.connections, err = subscribe(conntrackGroups...); err != nil {
		return err
	}
	if s.requests, err = nfnetlink.Dial(); err != nil {
		return err
	}
	now := time.Now()
	if s.table, err = install(ownRules(r), now.Add(r.Duration()+grace), now); err != nil {
		return err
	}
	s.ns, err = describe()
	return err
}

// subscribe opens a netfilter socket that is subscribed to the groups.
func subscribe(groups ...uint32) (*netlink.Conn, error) {
	conn, err := nfnetlink.Dial(groups...)
	if err != nil {
		return nil, err
	}
	// With a smaller buffer, more messages can be lost.
	_ = conn.SetReadBuffer(receiveBuffer)
	return conn, nil
}

// close removes the table and closes the sockets.
func (s *session) close() error {
	var errs []error
	if s.table != nil {
		errs = append(errs, s.table.remove())
		s.table = nil
	}
	for _, c := range []**netlink.Conn{&s.traces, &s.connections, &s.requests} {
		if *c != nil {
			errs = append(errs, (*c).Close())
			*c = nil
		}
	}
	return errors.Join(errs...)
}

// received is a received message.
type received struct {
	at      time.Time
	message netlink.Message
}

// run passes messages to the collector until it is done or ctx is done.
func (s *session) run(ctx context.Context, c *Collector) {
	ctx, stop := context.WithCancel(ctx)
	messages := make(chan received)
	var readers sync.WaitGroup
	for _, conn := range []*netlink.Conn{s.traces, s.connections} {
		readers.Go(func() { s.read(ctx, conn, messages) })
	}
	defer readers.Wait()
	// A deadline in the past interrupts a pending read.
	defer func() {
		stop()
		_ = s.traces.SetReadDeadline(time.Unix(1, 0))
		_ = s.connections.SetReadDeadline(time.Unix(1, 0))
	}()
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			if c.Done(now) {
				return
			}
		case m := <-messages:
			s.take(c, m)
		}
	}
}

// read receives messages until ctx is done.
func (s *session) read(ctx context.Context, conn *netlink.Conn, to chan<- received) {
	for {
		messages, err := conn.Receive()
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, unix.ENOBUFS):
			s.lost.Add(1)
			continue
		case err != nil:
			s.lost.Add(1)
			return
		}
		at := time.Now()
		for _, m := range messages {
			select {
			case to <- received{at, m}:
			case <-ctx.Done():
				return
			}
		}
	}
}

// take decodes a message and passes it to the collector.
func (s *session) take(c *Collector, r received) {
	var err error
	switch t := r.message.Header.Type; t {
	case nfnetlink.NFTables(unix.NFT_MSG_TRACE):
		var e Event
		if e, err = decodeTrace(r.message.Data); err == nil {
			c.Trace(r.at, e)
		}
	case nfnetlink.Conntrack(nfnetlink.ConntrackNew), nfnetlink.Conntrack(nfnetlink.ConntrackDelete):
		var e ConntrackEvent
		if e, err = decodeConntrack(t, r.message.Data); err == nil {
			c.Conntrack(r.at, e)
		}
	default: // Other messages of the subscribed groups are not evaluated.
	}
	if err != nil {
		s.undecoded.Add(1)
	}
}

// complete requests information that no message contained: connections that
// were opened before the trace, or whose events are disabled (sysctl
// net.netfilter.nf_conntrack_events), changed rules, and sockets.
func (s *session) complete(c *Collector) error {
	c.SetListeners(listeners())
	if c.UnknownRules() {
		rules, _, err := dump()
		if err != nil {
			return err
		}
		c.AddRules(rules)
	}
	if !c.Unconnected() {
		return nil
	}
	flows, err := nfnetlink.Flows(s.requests)
	if err != nil {
		return fmt.Errorf("read the connections: %w", err)
	}
	at := time.Now()
	for _, f := range flows {
		c.Conntrack(at, conntrackEvent(f))
	}
	return nil
}

// notes returns descriptions of possible gaps.
func (s *session) notes(c *Collector) []string {
	var out []string
	if n := s.lost.Load(); n > 0 {
		out = append(out, fmt.Sprintf("messages from the kernel were lost %d times because of high traffic", n))
	}
	if n := s.undecoded.Load(); n > 0 {
		out = append(out, fmt.Sprintf("%d messages from the kernel could not be decoded", n))
	}
	if n := c.Lost(); n > 0 {
		out = append(out, fmt.Sprintf("%d more flows were seen: increase the number of flows, or describe the flow more precisely", n))
	}
	return out
}
