// SPDX-License-Identifier: Apache-2.0

// Package rulewriter implements the rule-writer Job: it reads a ruleio.Request,
// brings the network namespace of each target to the requested state, and
// reports the state that it read back. All dependencies on the node are
// injected.
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

// Namespace is a network namespace. *netns.Namespace implements it.
type Namespace interface {
	// Inode identifies the namespace on the node.
	Inode() uint64
	// Addresses returns the addresses of its interfaces.
	Addresses() ([]netns.Address, error)
	// Do runs a function in the namespace.
	Do(f func() error) error
	// Close closes the namespace.
	Close() error
}

// Kernel writes and reads the table in the network namespace of the calling
// thread. kernel.Handle implements it.
type Kernel interface {
	// Replace writes the table in one transaction.
	Replace(t nft.Table) error
	// AddElements adds the elements to the set of this name. It fails with
	// kernel.ErrChanged if rules have changed since the generation.
	AddElements(s nft.Set, generation uint32) error
	// Remove deletes the table. It succeeds if the table does not exist.
	Remove() error
	// Read returns the table, or kernel.ErrNoTable.
	Read() (nft.Snapshot, error)
}

// Deps are the dependencies of Run on the node.
type Deps struct {
	// Find opens the network namespaces of a pod's processes with the errors of
	// netns.Finder.Find. Run closes them.
	Find func(podUID string) ([]Namespace, error)
	// Kernel is called in a namespace.
	Kernel Kernel
	// Flows is called in a namespace, for targets with Reset.
	Flows Flows
	// Proxy reads the state of the proxy in the namespace of the calling thread. It
	// is called after the rules were read, so that it cannot affect them.
	Proxy func(plan ruleio.NATPlan) *ruleio.ProxyState
	// Now returns the current time.
	Now func() time.Time
}

// Run handles the targets of an encoded request sequentially. It always returns
// a result that can be encoded. The result of an invalid request does not
// contain targets. When ctx is done, the remaining targets fail.
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

// handle brings one target to its desired state.
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

// reach performs the operation and sets all fields of out, except for the
// outcome of a failure.
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
	if err := d.operate(ns, t, w, out); err != nil {
		return err
	}
	return d.readProxy(ns, t, out)
}

// operate performs the operation in the namespace.
func (d Deps) operate(ns Namespace, t ruleio.Target, w wanted, out *ruleio.TargetResult) error {
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

// readProxy reads the state of a sidecar for OperationVerify. OperationApply does not
// wait for a proxy: a pod's rules are written before its proxy starts.
func (d Deps) readProxy(ns Namespace, t ruleio.Target, out *ruleio.TargetResult) error {
	if t.Operation != ruleio.OperationVerify || t.Plan.DataPlane == ruleio.DataPlaneAmbient {
		return nil
	}
	return ns.Do(func() error {
		out.Proxy = d.Proxy(*t.Plan)
		return nil
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

// gateAttempts limits the attempts to open the gate. KubeVirt and Istio can
// write rules at the same time, with a few changes each.
const gateAttempts = 50

// openGate opens the gate of a table that was written shut. It requires the
// same generation of the ruleset in which the table was read back and compared.
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
	return fmt.Errorf("open the gate: %w in each of %d attempts", kernel.ErrChanged, gateAttempts)
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

// verify compares the table with the desired table. It does not write.
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

// describe sets the fields of the result from the table that was read back. It
// returns the differences from the desired table, or an empty string.
func describe(want nftrules.Table, got nft.Snapshot, out *ruleio.TargetResult) string {
	out.TableDigest, out.Rules = got.Table.Digest(), got.Table.RuleCount()
	counters := nftrules.Totals(want, got)
	out.Counters = &counters
	return strings.Join(nft.Compare(want.Table, got.Table), "; ")
}

// remove deletes the table and verifies that it does not exist.
func (d Deps) remove(out *ruleio.TargetResult) error {
	if err := d.Kernel.Remove(); err != nil {
		return fmt.Errorf("remove the table: %w", err)
	}
	switch got, err := d.Kernel.Read(); {
	case errors.Is(err, kernel.ErrNoTable):
		out.Outcome = ruleio.OutcomeRemoved
		return nil
	case err != nil:
		return fmt.Errorf("check that the table is removed: %w", err)
	default:
		out.TableDigest, out.Rules = got.Table.Digest(), got.Table.RuleCount()
		return fmt.Errorf("%w: the table still exists", errMismatch)
	}
}

// wanted is the request of a target in terms of this package.
type wanted struct {
	podIPs       []netip.Addr
	podInterface string
	table        nftrules.Table
}

// errTarget indicates a target that no retry can make valid.
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

// errIdentity means that no network namespace belongs to the pod.
var errIdentity = errors.New("the network namespace does not belong to the pod")

// choose returns the namespace that has one of the pod's addresses. It rejects several
// such namespaces: a container of the pod can create another network namespace and
// give it the pod's address, and the rules would be verified where no traffic passes.
// It rejects the namespace if the rules would match the wrong interface.
func (w wanted) choose(candidates []Namespace) (Namespace, error) {
	var chosen Namespace
	var holder netns.Address
	for _, ns := range candidates {
		addresses, err := ns.Addresses()
		if err != nil {
			return nil, err
		}
		i := slices.IndexFunc(addresses, func(a netns.Address) bool { return slices.Contains(w.podIPs, a.IP) })
		if i < 0 {
			continue
		}
		if chosen != nil {
			return nil, fmt.Errorf("%w: the network namespaces %d and %d of the pod's processes both have one of the pod's addresses", errIdentity, chosen.Inode(), ns.Inode())
		}
		chosen, holder = ns, addresses[i]
	}
	switch {
	case chosen == nil:
		return nil, fmt.Errorf("%w: no interface has one of the pod's addresses", errIdentity)
	case w.podInterface != "" && holder.Interface != w.podInterface:
		return nil, fmt.Errorf("%w: plan.podInterface is %q, but %s is on %q", errTarget, w.podInterface, holder.IP, holder.Interface)
	}
	return chosen, nil
}

// errMismatch means that the table that was read back differs from the desired
// table.
var errMismatch = errors.New("the table in the kernel differs from the desired table")

// outcomeOf returns the outcome for an error of reach.
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
