// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"cmp"
	"net/netip"
	"slices"

	"meshvm.io/meshvm/internal/validate"
)

// normalizeCIDRs sorts networks and removes networks that another one contains.
func normalizeCIDRs(cidrs []string) ([]string, error) {
	networks := make([]netip.Prefix, 0, len(cidrs))
	for _, s := range cidrs {
		n, err := validate.ParseCIDR(s)
		if err != nil {
			return nil, err
		}
		networks = append(networks, n)
	}
	slices.SortFunc(networks, func(a, b netip.Prefix) int {
		return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Bits(), b.Bits()))
	})
	var kept []string
	var last netip.Prefix
	for _, n := range networks {
		// Networks are sorted by address and then by size, so a network follows
		// the networks that contain it.
		if last.IsValid() && last.Contains(n.Addr()) {
			continue
		}
		last = n
		kept = append(kept, n.String())
	}
	return kept, nil
}
