// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// parseCIDR parses a network without host bits. Its errors are sentences that
// name the way out.
func parseCIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is no network in CIDR notation: write it like 10.96.0.0/16 or fd00:96::/112", s)
	case p != p.Masked():
		return p, fmt.Errorf("%q has host bits set: write %s for the network, or %s for the host alone",
			s, p.Masked(), netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	case p.Addr().Is4In6() || p.Bits() > lowNetwork.Bits() && lowNetwork.Contains(p.Addr()):
		return p, fmt.Errorf("%q is an IPv6 network that no other host is in: write IPv4 networks like 10.96.0.0/16", s)
	}
	return p, nil
}

// lowNetwork has the addresses that stand for IPv4 addresses or for the host
// itself (RFC 4291, 2.5.2, 2.5.3 and 2.5.5).
var lowNetwork = netip.MustParsePrefix("::/96")

// withoutNested sorts networks and leaves out those inside another.
func withoutNested(networks []netip.Prefix) []string {
	sorted := slices.Clone(networks)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var kept []string
	var last netip.Prefix
	for _, n := range sorted {
		// Sorted by address and then by size, a network comes after every
		// network that it is inside of.
		if last.IsValid() && last.Contains(n.Addr()) {
			continue
		}
		last = n
		kept = append(kept, n.String())
	}
	return kept
}
