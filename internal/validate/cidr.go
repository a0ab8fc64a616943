// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"fmt"
	"net/netip"
)

// ParseCIDR parses a network without host bits. Its errors are messages for
// users.
func ParseCIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return p, fmt.Errorf("%q is not a network in CIDR notation: use for example 10.96.0.0/16 or fd00:96::/112", s)
	case p != p.Masked():
		return p, fmt.Errorf("%q has host bits set: use %s for the network, or %s for the single host",
			s, p.Masked(), netip.PrefixFrom(p.Addr(), p.Addr().BitLen()))
	case p.Addr().Is4In6() || p.Bits() > lowNetwork.Bits() && lowNetwork.Contains(p.Addr()):
		return p, fmt.Errorf("%q is an IPv6 network without other hosts: use the IPv4 notation for IPv4 networks, for example 10.96.0.0/16", s)
	}
	return p, nil
}

// lowNetwork contains the addresses that stand for IPv4 addresses or for the host
// itself (RFC 4291, 2.5.2, 2.5.3 and 2.5.5).
var lowNetwork = netip.MustParsePrefix("::/96")
