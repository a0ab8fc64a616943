// SPDX-License-Identifier: Apache-2.0

package rulewriter

import (
	"fmt"
	"net/netip"
	"slices"

	"meshvm.io/meshvm/internal/conntrack"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// Flows lists and deletes tracked flows in the namespace of the calling thread.
type Flows interface {
	// List returns all.
	List() ([]conntrack.Flow, error)
	// Delete forgets some and returns how many there still were.
	Delete(flows []conntrack.Flow) (int, error)
}

// way is what a table does with a flow.
type way struct{ zone, translation, filter nft.Statement }

// reset ends the flows that go otherwise than the table that was read back reports.
// It needs to know nothing of the table that was there before, so that a
// rule-writer that ended between writing and this is made good by the next one.
// Deleting a flow's entry makes its next packet a first one; as no end expects it
// on its new way, the flow is reset.
func (d Deps) reset(plan *ruleio.Plan, t nft.Table, out *ruleio.TargetResult) error {
	flows, err := d.Flows.List()
	if err != nil {
		return fmt.Errorf("reset flows: %w", err)
	}
	strays := slices.DeleteFunc(flows, func(f conntrack.Flow) bool { return goes(plan, f, wayOf(plan, t, f)) })
	if out.ResetFlows, err = d.Flows.Delete(strays); err != nil {
		return fmt.Errorf("reset flows: %w", err)
	}
	return nil
}

// one reports whether an address is that of one of the plan's families.
func one(plan *ruleio.Plan, a netip.Addr, address func(ruleio.Family) string) bool {
	return slices.ContainsFunc(plan.Families, func(family ruleio.Family) bool {
		b, err := netip.ParseAddr(address(family))
		return err == nil && a == b
	})
}

func guestOf(f ruleio.Family) string   { return f.Guest }
func podOf(f ruleio.Family) string     { return f.Pod }
func gatewayOf(f ruleio.Family) string { return f.Gateway }

// wayOf shows by a flow's source and mark where its first packet came from, and
// asks the table. ztunnel connects to the guest from the client's own address.
func wayOf(plan *ruleio.Plan, t nft.Table, f conntrack.Flow) way {
	p := nft.Packet{
		Source: f.Original.Source.Addr(), Destination: f.Original.Destination.Addr(),
		Protocol: f.Protocol, DestinationPort: f.Original.Destination.Port(),
	}
	hook := nft.HookPrerouting
	switch {
	case one(plan, p.Source, guestOf):
		p.Input, p.Output = plan.Bridge, plan.PodInterface
	case f.Mark&nftrules.MarkFromProxy != 0 || p.Source.IsLoopback() || p.Source.String() == nftrules.UpstreamIPv6 ||
		one(plan, p.Source, podOf) || one(plan, p.Source, gatewayOf):
		hook = nft.HookOutput
	default:
		p.Input, p.Output = plan.PodInterface, plan.Bridge
	}
	w := way{translation: t.Evaluate(hook, "nat", p)}
	if hook == nft.HookPrerouting {
		w.zone = t.Evaluate(hook, "filter", p)
		w.filter = t.Evaluate(nft.HookForward, "filter", p)
	}
	return w
}

// goes reports whether the flow goes as the way reports. Our table leaves some flows to
// the rules of others; those go as they should, unless our table drops them where
// they are forwarded.
func goes(plan *ruleio.Plan, f conntrack.Flow, w way) bool {
	to := f.Reply.Source
	switch {
	case w.filter.Kind == nft.StatementDrop && forwarded(plan, f),
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

// forwarded reports whether the flow, which did not begin in the pod, passes it.
func forwarded(plan *ruleio.Plan, f conntrack.Flow) bool {
	to := f.Reply.Source.Addr()
	if one(plan, f.Original.Source.Addr(), guestOf) {
		return !one(plan, to, gatewayOf) && !one(plan, to, podOf) && !to.IsLoopback() && !to.IsMulticast()
	}
	return one(plan, to, guestOf)
}

// kernelFlows are those of the node.
type kernelFlows struct{}

// List returns all flows.
func (kernelFlows) List() ([]conntrack.Flow, error) { return conntrack.List() }

// Delete forgets flows.
func (kernelFlows) Delete(flows []conntrack.Flow) (int, error) { return conntrack.Delete(flows) }
