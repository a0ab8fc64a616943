// SPDX-License-Identifier: Apache-2.0

//go:build linux

package witness

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/vishvananda/netlink"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/nft/kernel"
	"meshvm.io/meshvm/internal/nftrules"
)

// frames contains the kernel's packet counters between pod and guest.
type frames struct {
	// FromGuest is the number of frames that the guest sent, at the tap device.
	FromGuest uint64
	// ToGuest is the number of packets that were forwarded to the guest.
	ToGuest uint64
}

// counts contains the counted frames of a pod.
type counts struct {
	// before contains the frames at the time at which the rules were first
	// observed as verified.
	before *frames
	seen   frames
	err    error
	// old is set for a pod that existed before Start.
	old bool
}

const (
	tableName = "meshvm_witness"
	chainName = "frames"
	// pace is the time between two readings, and idle is the time after the rules
	// were verified, because readings slow down the guest.
	pace, idle = 10 * time.Millisecond, 200 * time.Millisecond
	// first is a priority before the chains of all other programs.
	first nftables.ChainPriority = -1000
)

// counters returns the tables of this package.
func counters() []struct {
	family nftables.TableFamily
	hook   *nftables.ChainHook
	key    expr.MetaKey
	prefix string
} {
	return []struct {
		family nftables.TableFamily
		hook   *nftables.ChainHook
		key    expr.MetaKey
		prefix string
	}{
		{nftables.TableFamilyBridge, nftables.ChainHookPrerouting, expr.MetaKeyIIFNAME, "tap"},
		{nftables.TableFamilyINet, nftables.ChainHookForward, expr.MetaKeyOIFNAME, "k6t-"},
	}
}

// count counts the frames of one pod until the pod is deleted.
func (w *Witness) count(ctx context.Context, uid types.UID, name string) {
	ns, err := w.namespace(ctx, uid)
	if ctx.Err() != nil || w.Find(uid, Gone) != nil {
		return // before the counters were installed
	}
	if err == nil {
		defer ns.Close() //nolint:errcheck // nothing was written
		err = ns.Do(install)
	}
	if err != nil {
		w.set(uid, func(c *counts) { c.err = err })
		return
	}
	w.note(Event{Object: name, UID: uid, What: Watched})
	dials := time.NewTicker(idle)
	defer dials.Stop()
	for ctx.Err() == nil && w.Find(uid, Gone) == nil {
		if err := ns.Do(func() error { return w.look(uid, name) }); err != nil {
			w.set(uid, func(c *counts) { c.err = err })
			return
		}
		wait := pace
		if w.Find(uid, Verified) != nil {
			wait = idle
		}
		select {
		case <-dials.C:
			w.dial(ns, uid, name)
		case <-time.After(wait):
		}
	}
}

// namespace waits for the first process of the pod.
func (w *Witness) namespace(ctx context.Context, uid types.UID) (*netns.Namespace, error) {
	for {
		if pid, err := w.options.PID(string(uid)); err == nil {
			if ns, err := netns.Open(filepath.Join("/proc", strconv.Itoa(pid), "ns/net")); err == nil {
				return ns, nil
			}
		}
		if w.Find(uid, Gone) != nil {
			return nil, errors.New("the pod never started a process")
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(pace):
		}
	}
}

// install writes the tables. It fails if the guest may already have sent
// packets in the namespace.
func install() error {
	links, err := netlink.LinkList()
	if err != nil {
		return err
	}
	for _, l := range links {
		if l.Type() == "bridge" {
			return fmt.Errorf("too late: %s already exists", l.Attrs().Name)
		}
	}
	conn, err := nftables.New()
	if err != nil {
		return err
	}
	for _, c := range counters() {
		priority := first
		table := conn.AddTable(&nftables.Table{Family: c.family, Name: tableName})
		chain := conn.AddChain(&nftables.Chain{
			Table: table, Name: chainName, Type: nftables.ChainTypeFilter, Hooknum: c.hook, Priority: &priority,
		})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Meta{Key: c.key, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte(c.prefix)},
			&expr.Counter{},
		}})
	}
	return conn.Flush()
}

// look first reads whether the rules are verified and then the counters, so
// that a frame that was not counted was sent later.
func (w *Witness) look(uid types.UID, name string) error {
	s, err := kernel.Handle{Table: nftrules.TableName}.Read()
	if err != nil && !errors.Is(err, kernel.ErrNoTable) && !errors.Is(err, kernel.ErrBusy) {
		return err
	}
	written := err == nil
	gate := s.Table.Set(nftrules.SetGate)
	open := written && gate != nil && len(gate.Elements) > 0
	now, err := read()
	if err != nil {
		return err
	}
	w.set(uid, func(c *counts) {
		if open && c.before == nil {
			c.before = &now
		}
		c.seen = now
	})
	for _, e := range []struct {
		is   bool
		what string
	}{{written && gate != nil && !open, Shut}, {open, Verified}, {now.FromGuest > 0, FirstFrame}} {
		if e.is && w.Find(uid, e.what) == nil {
			w.note(Event{Object: name, UID: uid, What: e.what})
		}
	}
	return nil
}

func read() (frames, error) {
	var n [2]uint64
	conn, err := nftables.New()
	if err != nil {
		return frames{}, err
	}
	for i, c := range counters() {
		table := &nftables.Table{Family: c.family, Name: tableName}
		rules, err := conn.GetRules(table, &nftables.Chain{Table: table, Name: chainName})
		if err != nil || len(rules) != 1 {
			return frames{}, fmt.Errorf("read the counters: %d rules, %w", len(rules), err)
		}
		for _, e := range rules[0].Exprs {
			if counter, ok := e.(*expr.Counter); ok {
				n[i] = counter.Packets
			}
		}
	}
	return frames{n[0], n[1]}, nil
}

// dial checks from the pod whether the guest responds.
func (w *Witness) dial(ns *netns.Namespace, uid types.UID, name string) {
	if w.options.GuestPort == 0 || w.Find(uid, GuestAnswers) != nil ||
		!w.options.GuestAnyway && w.Find(uid, FirstFrame) == nil {
		return
	}
	_ = ns.Do(func() error {
		c, err := net.DialTimeout("tcp4", net.JoinHostPort("10.0.2.2", strconv.Itoa(int(w.options.GuestPort))), 5*pace)
		if err == nil {
			w.note(Event{Object: name, UID: uid, What: GuestAnswers})
			_ = c.Close()
		}
		return nil
	})
}

func (w *Witness) set(uid types.UID, f func(*counts)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f(w.pods[uid])
}
