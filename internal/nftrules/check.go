// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// ErrInvalidPlan indicates a plan from which no table can be built. The message
// contains the JSON path of the field in ruleio.NATPlan.
var ErrInvalidPlan = errors.New("invalid plan")

func invalid(field, format string, args ...any) error {
	return fmt.Errorf("%w: %s %s", ErrInvalidPlan, field, fmt.Sprintf(format, args...))
}

// Check returns all errors of the plan, joined, or nil. Each error wraps
// ErrInvalidPlan. It checks only whether a table can be built. The manager
// validates the intent.
func Check(p ruleio.NATPlan) error {
	return errors.Join(
		checkInterface("plan.podInterface", p.PodInterface),
		checkInterface("plan.bridge", p.Bridge),
		checkDistinctInterfaces(p),
		checkDataPlane(p.DataPlane),
		checkFamilies(p.Families),
		checkPort("plan.proxy.inboundPort", p.Proxy.InboundPort),
		checkPort("plan.proxy.outboundPort", p.Proxy.OutboundPort),
		checkPorts("plan.proxy.localPorts", p.Proxy.LocalPorts),
		checkPorts("plan.inbound.mesh", p.Inbound.Mesh),
		checkRanges("plan.inbound.directTCP", p.Inbound.DirectTCP),
		checkRanges("plan.inbound.directUDP", p.Inbound.DirectUDP),
		checkRanges("plan.outbound.excludePorts", p.Outbound.ExcludePorts),
		checkRanges("plan.outbound.excludeUDP", p.Outbound.ExcludeUDP),
		checkDisjoint(p),
		checkCIDRs("plan.outbound.excludeCIDRs", p.Outbound.ExcludeCIDRs),
		checkCIDRs("plan.outbound.includeCIDRs", p.Outbound.IncludeCIDRs),
		checkUnmeshed(p.Unmeshed),
		checkDNS(p.DNS),
		checkGate(p.Gate),
	)
}

func checkGate(g *ruleio.Gate) error {
	if g == nil {
		return nil
	}
	return errors.Join(checkPort("plan.gate.port", g.Port), checkPort("plan.gate.answerPort", g.AnswerPort))
}

func checkDNS(d *ruleio.DNS) error {
	switch {
	case d == nil, d.Mode == ruleio.DNSDirect:
		return nil
	case d.Mode != ruleio.DNSProxy:
		return invalid("plan.dns.mode", "%q is not known", d.Mode)
	default:
		return checkPort("plan.dns.capturePort", d.CapturePort)
	}
}

func checkUnmeshed(u ruleio.Unmeshed) error {
	switch u {
	case "", ruleio.UnmeshedAllow, ruleio.UnmeshedDrop:
		return nil
	default:
		return invalid("plan.unmeshed", "%q is not known", u)
	}
}

// checkRanges checks that ranges are in ascending order and do not overlap. The
// kernel rejects overlapping elements in an interval set.
func checkRanges(field string, ranges []ruleio.PortRange) error {
	last := -1
	for i, r := range ranges {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := checkPort(at, r.First); err != nil {
			return err
		}
		if r.Last < r.First {
			return invalid(at, "%s ends before it starts", r)
		}
		if int(r.First) <= last {
			return invalid(at, "%s does not follow %d: the list must be ascending and without duplicates", r, last)
		}
		last = int(r.Last)
	}
	return nil
}

// checkInterface rejects names that the kernel rejects (dev_valid_name in
// net/core/dev.c), or that nft cannot quote or treats as wildcards.
func checkInterface(field, name string) error {
	switch {
	case name == "":
		return invalid(field, "is empty")
	case len(name) >= nft.InterfaceNameSize:
		return invalid(field, "%q is longer than %d bytes", name, nft.InterfaceNameSize-1)
	case name == "." || name == "..", strings.ContainsFunc(name, notInInterfaceName):
		return invalid(field, "%q is not an interface name", name)
	default:
		return nil
	}
}

func notInInterfaceName(r rune) bool {
	return r <= ' ' || r > '~' || strings.ContainsRune(`/:*"\`, r)
}

func checkDistinctInterfaces(p ruleio.NATPlan) error {
	if p.Bridge != "" && p.Bridge == p.PodInterface {
		return invalid("plan.bridge", "%q is also plan.podInterface", p.Bridge)
	}
	return nil
}

func checkFamilies(families []ruleio.Family) error {
	if len(families) == 0 {
		return invalid("plan.families", "is empty")
	}
	var errs []error
	seen := map[string]bool{}
	for i, f := range families {
		field := fmt.Sprintf("plan.families[%d]", i)
		i := slices.IndexFunc(stacks, func(s stack) bool { return s.name == f.Name })
		switch {
		case i < 0:
			errs = append(errs, invalid(field+".name", "%q is neither %q nor %q", f.Name, ruleio.FamilyIPv4, ruleio.FamilyIPv6))
			continue
		case seen[f.Name]:
			errs = append(errs, invalid(field+".name", "%q occurs twice", f.Name))
		case f.Name == ruleio.FamilyIPv4 && seen[ruleio.FamilyIPv6]:
			errs = append(errs, invalid(field+".name", "%q must precede %q", f.Name, ruleio.FamilyIPv6))
		}
		seen[f.Name] = true
		s := stacks[i]
		errs = append(errs, checkAddress(field+".guest", s, f.Guest), checkAddress(field+".gateway", s, f.Gateway),
			checkAddress(field+".pod", s, f.Pod))
		if f.Guest == f.Gateway || f.Guest == f.Pod || f.Gateway == f.Pod {
			errs = append(errs, invalid(field, "has the same address twice (guest %q, gateway %q, pod %q)", f.Guest, f.Gateway, f.Pod))
		}
	}
	return errors.Join(errs...)
}

// checkAddress requires a canonical unicast address of the family that is valid
// outside the host.
func checkAddress(field string, s stack, text string) error {
	a, err := netip.ParseAddr(text)
	switch {
	case err != nil || !nft.IsAddressOf(s.addresses, a) || a.String() != text:
		return invalid(field, "%q is not an %s address in canonical form", text, s.title)
	case a.IsUnspecified() || a.IsLoopback() || a.IsMulticast() || embedsIPv4(netip.PrefixFrom(a, a.BitLen())) ||
		a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return invalid(field, "%q is not the address of a host", text)
	default:
		return nil
	}
}

// embedsIPv4 reports whether an IPv6 network contains addresses that represent
// IPv4 addresses or the host itself (RFC 4291, 2.5.2, 2.5.3 and 2.5.5). Packets
// from other hosts never have such addresses, and their notation differs
// between programs.
func embedsIPv4(p netip.Prefix) bool {
	return p.Addr().Is4In6() || p.Bits() > lowNetwork.Bits() && lowNetwork.Contains(p.Addr())
}

var lowNetwork = netip.MustParsePrefix("::/96")

func checkPort(field string, port uint16) error {
	if port == 0 {
		return invalid(field, "is 0")
	}
	return nil
}

func checkPorts(field string, ports []uint16) error {
	for i, p := range ports {
		at := fmt.Sprintf("%s[%d]", field, i)
		if err := checkPort(at, p); err != nil {
			return err
		}
		if i > 0 && p <= ports[i-1] {
			return invalid(at, "%d does not follow %d: the list must be ascending and without duplicates", p, ports[i-1])
		}
	}
	return nil
}

// checkDisjoint rejects a TCP port that two rules would match.
func checkDisjoint(p ruleio.NATPlan) error {
	var errs []error
	owner := map[uint16]string{}
	for _, l := range []struct {
		field string
		ports []uint16
	}{
		{"plan.proxy.localPorts", p.Proxy.LocalPorts},
		{"plan.inbound.mesh", p.Inbound.Mesh},
	} {
		for i, port := range l.ports {
			if other, taken := owner[port]; taken && other != l.field {
				errs = append(errs, invalid(fmt.Sprintf("%s[%d]", l.field, i), "%d is also in %s", port, other))
			}
			owner[port] = l.field
		}
	}
	for i, r := range p.Inbound.DirectTCP {
		for _, port := range slices.Sorted(maps.Keys(owner)) {
			if r.Contains(port) {
				errs = append(errs, invalid(fmt.Sprintf("plan.inbound.directTCP[%d]", i), "%d is also in %s", port, owner[port]))
			}
		}
	}
	return errors.Join(errs...)
}

// checkCIDRs checks that networks are canonical and in ascending order, IPv4
// before IPv6, and do not overlap. The kernel rejects overlapping elements in
// an interval set.
func checkCIDRs(field string, cidrs []string) error {
	var errs []error
	var last netip.Prefix
	for i, text := range cidrs {
		at := fmt.Sprintf("%s[%d]", field, i)
		p, err := netip.ParsePrefix(text)
		switch {
		case err != nil:
			errs = append(errs, invalid(at, "%q is not a network", text))
			continue
		case embedsIPv4(p):
			errs = append(errs, invalid(at, "%q is not a network of other hosts", text))
			continue
		case p != p.Masked() || p.String() != text:
			errs = append(errs, invalid(at, "%q is not in canonical form, %s is", text, p.Masked()))
		case last.IsValid() && p.Overlaps(last):
			errs = append(errs, invalid(at, "%s overlaps %s", text, last))
		case last.IsValid() && p.Addr().Less(last.Addr()):
			errs = append(errs, invalid(at, "%s does not follow %s: the list must be sorted by address", text, last))
		}
		last = p
	}
	return errors.Join(errs...)
}
