// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"time"

	"meshvm.io/meshvm/internal/netns"
)

// tick is the interval at which a trace checks whether it is done.
const tick = 100 * time.Millisecond

// Run traces in the pod's network namespace until the requested number of flows
// have ended, the duration has elapsed, or ctx is done. In all cases, including
// errors, it removes the trace's table before it returns.
//
// It requires the capabilities SYS_ADMIN (setns(2)) and NET_ADMIN.
func Run(ctx context.Context, f netns.Finder, r Request) Result {
	r = r.WithDefaults()
	start := time.Now()
	out := Result{Version: ResultVersion, PodUID: r.PodUID, Outcome: OutcomeTraced}
	err := r.Validate()
	if err == nil {
		err = inPod(f, r, func(ns *netns.Namespace) error {
			out.NetnsInode = ns.Inode()
			return runIn(ctx, ns, r, &out)
		})
	}
	out.DurationMilliseconds = time.Since(start).Milliseconds()
	switch {
	case err != nil:
		out.Outcome, out.Message = outcomeOf(err), err.Error()
	case len(out.Flows) == 0:
		out.Outcome = OutcomeNothingSeen
		out.Message = fmt.Sprintf("No packet of the flow (%s) was seen within %s.", r.Flow, time.Since(start).Round(time.Second/10))
	}
	return out
}

// outcomeOf returns the outcome for an error.
func outcomeOf(err error) Outcome {
	for _, m := range []struct {
		is      error
		outcome Outcome
	}{
		{ErrInvalidRequest, OutcomeInvalid},
		{netns.ErrInvalidUID, OutcomeInvalid},
		{netns.ErrNotFound, OutcomeTargetGone},
		{ErrBusy, OutcomeBusy},
		{ErrUnsupported, OutcomeUnsupported},
		{netns.ErrUnsupported, OutcomeUnsupported},
	} {
		if errors.Is(err, m.is) {
			return m.outcome
		}
	}
	return OutcomeFailed
}

// errIdentity means that no network namespace belongs to the pod.
var errIdentity = errors.New("no interface has one of the pod's addresses")

// inPod calls do with the pod's network namespace.
func inPod(f netns.Finder, r Request, do func(*netns.Namespace) error) error {
	found, err := f.Find(r.PodUID)
	if err != nil {
		return fmt.Errorf("find the pod: %w", err)
	}
	defer func() {
		for _, ns := range found {
			_ = ns.Close()
		}
	}()
	for _, ns := range found {
		addresses, err := ns.Addresses()
		if err != nil {
			return err
		}
		if len(r.PodIPs) == 0 || slices.ContainsFunc(addresses, func(a netns.Address) bool { return isOneOf(a.IP, r.PodIPs) }) {
			return do(ns)
		}
	}
	return errIdentity
}

func isOneOf(a netip.Addr, texts []string) bool {
	return slices.ContainsFunc(texts, func(text string) bool {
		b, err := netip.ParseAddr(text)
		return err == nil && b.Unmap() == a
	})
}

// runIn traces in the network namespace.
func runIn(ctx context.Context, ns *netns.Namespace, r Request, out *Result) (err error) {
	ctx, cancel := context.WithTimeout(ctx, r.Duration())
	defer cancel()
	var s *session
	if err := ns.Do(func() (err error) {
		s, err = open(r)
		return err
	}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	c := NewCollector(r, s.ns)
	s.run(ctx, c)
	err = ns.Do(func() error { return s.complete(c) })
	out.Flows, out.Chains, out.Notes = c.Report(), c.Chains(), s.notes(c)
	return err
}

// describe returns the facts about the calling thread's network namespace that
// a Collector needs.
func describe() (Namespace, error) {
	ns := Namespace{Links: map[uint32]Link{}, Listens: listeners().Listens}
	interfaces, err := net.Interfaces()
	if err != nil {
		return ns, fmt.Errorf("list interfaces: %w", err)
	}
	for _, i := range interfaces {
		addresses, err := i.Addrs()
		if err != nil {
			return ns, fmt.Errorf("list the addresses of %s: %w", i.Name, err)
		}
		l := Link{Name: i.Name}
		for _, a := range addresses {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				l.Prefixes = append(l.Prefixes, netip.PrefixFrom(p.Addr().Unmap(), p.Bits()))
			}
		}
		ns.Links[uint32(i.Index)] = l //nolint:gosec // The kernel's indexes are positive.
	}
	ns.Rules, ns.Roles, err = dump()
	return ns, err
}

// listeners returns the listening sockets of the calling thread's network
// namespace (proc(5)).
func listeners() Listeners {
	read := func(name, state string) []netip.AddrPort {
		b, err := os.ReadFile(filepath.Join("/proc/thread-self/net", name))
		if err != nil {
			return nil // The kernel does not support IPv6.
		}
		return parseSockets(b, state)
	}
	return Listeners{
		TCP: append(read("tcp", stateListen), read("tcp6", stateListen)...),
		UDP: append(read("udp", stateUnconnected), read("udp6", stateUnconnected)...),
	}
}
