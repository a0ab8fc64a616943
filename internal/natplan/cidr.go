package natplan

import (
	"cmp"
	"errors"
	"net/netip"
	"slices"
)

var errNotIPv4 = errors.New("not an IPv4 network")

// parseIPv4CIDR parses an IPv4 network and clears its host bits.
func parseIPv4CIDR(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return netip.Prefix{}, err
	}
	if !p.Addr().Is4() {
		return netip.Prefix{}, errNotIPv4
	}
	return p.Masked(), nil
}

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

// guestAddresses returns what KubeVirt makes of the network of a masquerade
// interface: the first host is the gateway, the second the guest (KubeVirt,
// pkg/network/link/address.go).
func guestAddresses(network netip.Prefix) (gateway, guest netip.Addr, err error) {
	gateway = network.Addr().Next()
	guest = gateway.Next()
	if network.Bits() > 30 || !guest.IsValid() {
		return gateway, guest, errors.New("fewer than four addresses")
	}
	return gateway, guest, nil
}
