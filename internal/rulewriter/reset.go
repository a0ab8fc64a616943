// SPDX-License-Identifier: Apache-2.0

package rulewriter

import (
	"fmt"
	"net/netip"
	"slices"

	"meshvm.io/meshvm/internal/conntrack"
	"meshvm.io/meshvm/internal/nfnetlink"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// Flows lists and deletes tracked flows in the network namespace of the calling
// thread.
type Flows interface {
	// List returns all flows.
	List() ([]nfnetlink.Flow, error)
	// Delete deletes flows and returns how many of them existed.
	Delete(flows []nfnetlink.Flow) (int, error)
}

// path contains the statements that a table applies to a flow.
type path struct{ zone, translation, filter nft.Statement }

// reset terminates the flows whose path differs from the path in the table that
// was read back. It does not depend on the previous table, so the next
// rule-writer completes the work of one that was killed after writing. After a
// flow's entry is deleted, its next packet is handled as a first packet. The
// other end does not expect this packet on the new path and resets the
// connection.
func (d Deps) reset(plan *ruleio.NATPlan, t nft.Table, out *ruleio.TargetResult) error {
	flows, err := d.Flows.List()
	if err != nil {
		return fmt.Errorf("reset flows: %w", err)
	}
	strays := slices.DeleteFunc(flows, func(f nfnetlink.Flow) bool { return matchesRules(plan, f, pathOf(plan, t, f)) })
	if out.ResetFlows, err = d.Flows.Delete(strays); err != nil {
		return fmt.Errorf("reset flows: %w", err)
	}
	return nil
}

// hasAddress reports whether an address belongs to one of the plan's families.
func hasAddress(plan *ruleio.NATPlan, a netip.Addr, address func(ruleio.Family) string) bool {
	return slices.ContainsFunc(plan.Families, func(family ruleio.Family) bool {
		b, err := netip.ParseAddr(address(family))
		return err == nil && a == b
	})
}

func guestOf(f ruleio.Family) string   { return f.Guest }
func podOf(f ruleio.Family) string     { return f.Pod }
func gatewayOf(f ruleio.Family) string { return f.Gateway }

// pathOf determines from the source and the mark of a flow where its first
// packet came from, and evaluates the table for this packet. ztunnel connects
// to the guest with the address of the client.
func pathOf(plan *ruleio.NATPlan, t nft.Table, f nfnetlink.Flow) path {
	p := nft.Packet{
		Source: f.Original.Source.Addr(), Destination: f.Original.Destination.Addr(),
		Protocol: f.Original.Protocol, DestinationPort: f.Original.Destination.Port(),
	}
	hook := nft.HookPrerouting
	switch {
	case hasAddress(plan, p.Source, guestOf):
		p.Input, p.Output = plan.Bridge, plan.PodInterface
	case f.Mark&nftrules.MarkFromProxy != 0 || p.Source.IsLoopback() || p.Source.String() == nftrules.UpstreamIPv6 ||
		hasAddress(plan, p.Source, podOf) || hasAddress(plan, p.Source, gatewayOf):
		hook = nft.HookOutput
	default:
		p.Input, p.Output = plan.PodInterface, plan.Bridge
	}
	w := path{translation: t.Evaluate(hook, "nat", p)}
	if hook == nft.HookPrerouting {
		w.zone = t.Evaluate(hook, "filter", p)
		w.filter = t.Evaluate(nft.HookForward, "filter", p)
	}
	return w
}

// matchesRules reports whether the flow takes the path that the table
// prescribes. Flows that the table leaves to other rules match, unless the
// table drops them when they are forwarded.
func matchesRules(plan *ruleio.NATPlan, f nfnetlink.Flow, w path) bool {
	to := f.Reply.Source
	switch {
	case w.filter.Kind == nft.StatementDrop && forwarded(plan, f),
		w.zone.Kind == nft.StatementDrop,
		w.zone.Kind == nft.StatementZone && w.zone.Zone != f.Zone:
		return false
	}
	switch w.translation.Kind {
	case nft.StatementRedirect:
		return to.Port() == w.translation.Port
	case nft.StatementDNAT:
		return to.Addr().String() == w.translation.Address
	case nft.StatementKeep:
		return to == f.Original.Destination
	default:
		return true
	}
}

// forwarded reports whether a flow that was not opened in the pod is forwarded
// by the pod.
func forwarded(plan *ruleio.NATPlan, f nfnetlink.Flow) bool {
	to := f.Reply.Source.Addr()
	if hasAddress(plan, f.Original.Source.Addr(), guestOf) {
		return !hasAddress(plan, to, gatewayOf) && !hasAddress(plan, to, podOf) && !to.IsLoopback() && !to.IsMulticast()
	}
	return hasAddress(plan, to, guestOf)
}

// kernelFlows are the flows in the kernel of the node.
type kernelFlows struct{}

// List returns all flows.
func (kernelFlows) List() ([]nfnetlink.Flow, error) { return conntrack.List() }

// Delete deletes flows.
func (kernelFlows) Delete(flows []nfnetlink.Flow) (int, error) { return conntrack.Delete(flows) }
