package rulewriter

import (
	"fmt"
	"net/netip"
	"slices"

	"meshvm.io/meshvm/internal/conntrack"
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
type way struct{ zone, translation, filter nftrules.Statement }

// reset ends the flows that the new table treats otherwise than the old one,
// unless they already go as the new one wants: those began after it was
// written. Deleting a flow's entry makes its next packet a first one; as no end
// expects it on its new way, the flow is reset.
func (d Deps) reset(plan *ruleio.Plan, before, after nftrules.Table, out *ruleio.TargetResult) error {
	flows, err := d.Flows.List()
	if err != nil {
		return fmt.Errorf("reset flows: %w", err)
	}
	var affected []conntrack.Flow
	for _, f := range flows {
		was, is := wayOf(plan, before, f), wayOf(plan, after, f)
		if was != is && !goes(f, is) {
			affected = append(affected, f)
		}
	}
	if out.ResetFlows, err = d.Flows.Delete(affected); err != nil {
		return fmt.Errorf("reset flows: %w", err)
	}
	return nil
}

// wayOf tells by a flow's source where its first packet came from, and asks the
// table.
func wayOf(plan *ruleio.Plan, t nftrules.Table, f conntrack.Flow) way {
	p := nftrules.Packet{
		Source: f.Original.Source.Addr(), Destination: f.Original.Destination.Addr(),
		Protocol: f.Protocol, DestinationPort: f.Original.Destination.Port(),
	}
	is := func(address func(ruleio.Family) string) bool {
		return slices.ContainsFunc(plan.Families, func(family ruleio.Family) bool {
			a, err := netip.ParseAddr(address(family))
			return err == nil && a == p.Source
		})
	}
	hook := nftrules.HookPrerouting
	switch {
	case is(func(f ruleio.Family) string { return f.Guest }):
		p.Input, p.Output = plan.Bridge, plan.PodInterface
	case p.Source.IsLoopback() || is(func(f ruleio.Family) string { return f.Pod }):
		hook = nftrules.HookOutput
	default:
		p.Input, p.Output = plan.PodInterface, plan.Bridge
	}
	w := way{translation: t.Evaluate(hook, "nat", p)}
	if hook == nftrules.HookPrerouting {
		w.zone = t.Evaluate(hook, "filter", p)
		w.filter = t.Evaluate(nftrules.HookForward, "filter", p)
	}
	return w
}

// goes says whether the flow is translated as the way says. Of flows that our
// table leaves to others it is not known.
func goes(f conntrack.Flow, w way) bool {
	if w.filter.Kind == nftrules.StatementDrop && w.translation.Kind != nftrules.StatementRedirect {
		return false
	}
	switch w.translation.Kind {
	case nftrules.StatementRedirect:
		return f.Reply.Source.Port() == w.translation.Port
	case nftrules.StatementDNAT:
		return f.Reply.Source.Addr().String() == w.translation.Address
	case nftrules.StatementKeep:
		return f.Reply.Source == f.Original.Destination
	default:
		return false
	}
}

// kernelFlows are those of the node.
type kernelFlows struct{}

// List returns all flows.
func (kernelFlows) List() ([]conntrack.Flow, error) { return conntrack.List() }

// Delete forgets flows.
func (kernelFlows) Delete(flows []conntrack.Flow) (int, error) { return conntrack.Delete(flows) }
