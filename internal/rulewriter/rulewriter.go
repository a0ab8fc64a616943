// SPDX-License-Identifier: Apache-2.0

// Package rulewriter is the program of the rule-writer Job: it takes a
// ruleio.Request, brings the network namespace of each target to what the
// request reports, and reports what it read back. Everything that touches the node
// is injected.
//
//	request -> find the pod's namespace -> check that it is the pod's
//	        -> one transaction -> read back -> compare -> result
package rulewriter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nft/kernel"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// Namespace is a network namespace; *netns.Namespace is one.
type Namespace interface {
	// Inode identifies it on the node.
	Inode() uint64
	// Addresses are those of its interfaces.
	Addresses() ([]netns.Address, error)
	// Do runs a function inside.
	Do(f func() error) error
	// Close gives it back.
	Close() error
}

// Kernel writes and reads the table in the namespace of the calling thread;
// kernel.Handle is one.
type Kernel interface {
	// Replace writes the table in one transaction.
	Replace(t nft.Table) error
	// AddElements adds the elements to the set of that name. It fails with
	// kernel.ErrChanged when rules were changed since the generation.
	AddElements(s nft.Set, generation uint32) error
	// Remove deletes the table; having none is success.
	Remove() error
	// Read returns the table, or kernel.ErrNoTable.
	Read() (nft.Snapshot, error)
}

// Deps is what Run needs of the node.
type Deps struct {
	// Find opens the namespaces of a pod's processes with the errors of
	// netns.Finder.Find; Run closes them.
	Find func(podUID string) ([]Namespace, error)
	// Kernel is used inside a namespace.
	Kernel Kernel
	// Flows is used inside a namespace, for targets with Reset.
	Flows Flows
	// Now is the time, for durations.
	Now func() time.Time
}

// Run handles the targets of an encoded request one after the other. It always
// returns a result that can be encoded: a request that cannot be read gives one
// without targets. Once ctx is done, the targets that are left fail.
func Run(ctx context.Context, d Deps, request []byte) ruleio.Result {
	result := ruleio.Result{Version: ruleio.ResultVersion, RequestDigest: ruleio.DigestOf(request)}
	r, err := ruleio.DecodeRequest(request)
	if err != nil {
		result.Message = err.Error()
		return result
	}
	for _, t := range r.Targets {
		result.Targets = append(result.Targets, d.handle(ctx, t))
	}
	return result
}

// handle brings one target to its wanted state.
func (d Deps) handle(ctx context.Context, t ruleio.Target) ruleio.TargetResult {
	out := ruleio.TargetResult{PodUID: t.PodUID}
	err := ctx.Err()
	if err == nil {
		err = d.reach(t, &out)
	}
	if err != nil {
		out.Outcome, out.Message = outcomeOf(err), err.Error()
	}
	return out
}

// reach fills in everything of out but the ending of a failure.
func (d Deps) reach(t ruleio.Target, out *ruleio.TargetResult) error {
	w, err := wantedOf(t)
	if err != nil {
		return err
	}
	candidates, err := d.Find(t.PodUID)
	if err != nil {
		return err
	}
	defer func() {
		for _, c := range candidates {
			_ = c.Close()
		}
	}()
	ns, err := w.choose(candidates)
	if err != nil {
		return err
	}
	out.NetnsInode = ns.Inode()
	return ns.Do(func() error {
		start := d.Now()
		defer func() { out.DurationMicroseconds = d.Now().Sub(start).Microseconds() }()
		switch t.Operation {
		case ruleio.OperationRemove:
			return d.remove(out)
		case ruleio.OperationVerify:
			return d.verify(w.table, out)
		case ruleio.OperationApply:
			return d.apply(t, w.table, out)
		default:
			return fmt.Errorf("%w: operation %q", errTarget, t.Operation)
		}
	})
}

// apply writes the table and verifies it by reading it back.
func (d Deps) apply(t ruleio.Target, want nftrules.Table, out *ruleio.TargetResult) error {
	if err := d.Kernel.Replace(want.Shut().Table); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	if want.Gate() != nil {
		if err := d.openGate(want, out); err != nil {
			return err
		}
	}
	got, err := d.readBack(want, out)
	if err != nil {
		return err
	}
	if t.Reset {
		if err := d.reset(t.Plan, got.Table, out); err != nil {
			return err
		}
	}
	out.Outcome = ruleio.OutcomeApplied
	return nil
}

// gateAttempts bounds how often the gate is tried to be opened: KubeVirt and
// Istio, which write rules at the same time, each make a few changes.
const gateAttempts = 50

// openGate opens the gate of a table that was written shut, in the very state of
// the ruleset in which it was read back and found equal.
func (d Deps) openGate(want nftrules.Table, out *ruleio.TargetResult) error {
	for range gateAttempts {
		got, err := d.readBack(want.Shut(), out)
		if err != nil {
			return err
		}
		err = d.Kernel.AddElements(*want.Gate(), got.Generation)
		if err == nil {
			return nil
		}
		if !errors.Is(err, kernel.ErrChanged) {
			return fmt.Errorf("open the gate: %w", err)
		}
	}
	return fmt.Errorf("open the gate: %w, each of %d times", kernel.ErrChanged, gateAttempts)
}

// readBack reads the table and compares it.
func (d Deps) readBack(want nftrules.Table, out *ruleio.TargetResult) (nft.Snapshot, error) {
	got, err := d.Kernel.Read()
	if err != nil {
		return got, fmt.Errorf("read the table back: %w", err)
	}
	if differences := describe(want, got, out); differences != "" {
		return got, fmt.Errorf("%w: %s", errMismatch, differences)
	}
	return got, nil
}

// verify describes how the table differs from the wanted one and writes nothing.
func (d Deps) verify(want nftrules.Table, out *ruleio.TargetResult) error {
	got, err := d.Kernel.Read()
	if errors.Is(err, kernel.ErrNoTable) {
		out.Outcome, out.Message = ruleio.OutcomeDrifted, "the table is missing"
		return nil
	}
	if err != nil {
		return fmt.Errorf("read the table: %w", err)
	}
	out.Outcome = ruleio.OutcomeVerified
	if out.Message = describe(want, got, out); out.Message != "" {
		out.Outcome = ruleio.OutcomeDrifted
	}
	return nil
}

// describe fills in what a read-back shows and returns how it differs from what
// is wanted, empty if it does not.
func describe(want nftrules.Table, got nft.Snapshot, out *ruleio.TargetResult) string {
	out.TableDigest, out.Rules = got.Table.Digest(), got.Table.RuleCount()
	counters := nftrules.Totals(want, got)
	out.Counters = &counters
	return strings.Join(nft.Compare(want.Table, got.Table), "; ")
}

// remove deletes the table and proves that it is gone.
func (d Deps) remove(out *ruleio.TargetResult) error {
	if err := d.Kernel.Remove(); err != nil {
		return fmt.Errorf("remove the table: %w", err)
	}
	switch got, err := d.Kernel.Read(); {
	case errors.Is(err, kernel.ErrNoTable):
		out.Outcome = ruleio.OutcomeRemoved
		return nil
	case err != nil:
		return fmt.Errorf("look for the removed table: %w", err)
	default:
		out.TableDigest, out.Rules = got.Table.Digest(), got.Table.RuleCount()
		return fmt.Errorf("%w: the table is still there", errMismatch)
	}
}

// wanted is a target's request in the terms of this package.
type wanted struct {
	podIPs       []netip.Addr
	podInterface string
	table        nftrules.Table
}

// errTarget marks a target of a request that no retry can make valid.
var errTarget = errors.New("invalid target")

func wantedOf(t ruleio.Target) (wanted, error) {
	var w wanted
	for i, text := range t.PodIPs {
		a, err := netip.ParseAddr(text)
		if err != nil {
			return w, fmt.Errorf("%w: podIPs[%d] %q is not an IP address", errTarget, i, text)
		}
		w.podIPs = append(w.podIPs, a.Unmap())
	}
	if t.Plan == nil {
		return w, nil
	}
	w.podInterface = t.Plan.PodInterface
	var err error
	if w.table, err = nftrules.Build(*t.Plan); err != nil {
		return w, err
	}
	for i, f := range t.Plan.Families {
		if a, err := netip.ParseAddr(f.Pod); err != nil || !slices.Contains(w.podIPs, a) {
			return w, fmt.Errorf("%w: plan.families[%d].pod %s is not among podIPs", errTarget, i, f.Pod)
		}
	}
	return w, nil
}

// errIdentity means that no namespace found is the pod's.
var errIdentity = errors.New("the namespace is not the pod's")

// choose returns the first namespace that has one of the pod's addresses, and
// refuses it if the rules would look at the wrong interface.
func (w wanted) choose(candidates []Namespace) (Namespace, error) {
	for _, ns := range candidates {
		addresses, err := ns.Addresses()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(addresses, func(a netns.Address) bool { return slices.Contains(w.podIPs, a.IP) })
		if i < 0 {
			continue
		}
		if holder := addresses[i].Interface; w.podInterface != "" && holder != w.podInterface {
			return nil, fmt.Errorf("%w: plan.podInterface is %q, but %s is on %q", errTarget, w.podInterface, addresses[i].IP, holder)
		}
		return ns, nil
	}
	return nil, fmt.Errorf("%w: no interface has one of the pod's addresses", errIdentity)
}

// errMismatch means that what was read back is not what was wanted.
var errMismatch = errors.New("the kernel has something else")

// outcomeOf maps an error of reach to the ending that it stands for.
func outcomeOf(err error) ruleio.Outcome {
	for _, m := range []struct {
		is      error
		outcome ruleio.Outcome
	}{
		{errMismatch, ruleio.OutcomeMismatch},
		{errIdentity, ruleio.OutcomeIdentityMismatch},
		{netns.ErrHostNetwork, ruleio.OutcomeIdentityMismatch},
		{netns.ErrNotFound, ruleio.OutcomeTargetGone},
		{errTarget, ruleio.OutcomeInvalid},
		{netns.ErrInvalidUID, ruleio.OutcomeInvalid},
		{nftrules.ErrInvalidPlan, ruleio.OutcomeInvalid},
		{kernel.ErrUnsupported, ruleio.OutcomeUnsupported},
		{netns.ErrUnsupported, ruleio.OutcomeUnsupported},
	} {
		if errors.Is(err, m.is) {
			return m.outcome
		}
	}
	return ruleio.OutcomeFailed
}
