// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"slices"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/validate"
)

// normalizeRanges sorts ranges, TCP before UDP, merges overlapping ranges, and
// omits fields that have their default value.
func normalizeRanges(ranges []v1alpha1.PortRange) []v1alpha1.PortRange {
	var out []v1alpha1.PortRange
	for _, protocol := range []v1alpha1.PortProtocol{v1alpha1.PortProtocolTCP, v1alpha1.PortProtocolUDP} {
		for _, r := range rangesOf(ranges, protocol) {
			normal := v1alpha1.PortRange{Port: int32(r.First)}
			if r.Last != r.First {
				normal.EndPort = int32(r.Last)
			}
			if protocol != v1alpha1.PortProtocolTCP {
				normal.Protocol = protocol
			}
			out = append(out, normal)
		}
	}
	return out
}

// rangesOf returns the valid ranges of a protocol in ascending order. Overlapping
// ranges are merged.
func rangesOf(ranges []v1alpha1.PortRange, protocol v1alpha1.PortProtocol) []ruleio.PortRange {
	var out []ruleio.PortRange
	for _, r := range ranges {
		if last := r.EndPortOrDefault(); r.ProtocolOrDefault() == protocol && r.Port >= 1 && last <= validate.MaxPort && r.Port <= last {
			out = append(out, ruleio.PortRange{First: uint16(r.Port), Last: uint16(last)}) //nolint:gosec // Between 1 and 65535.
		}
	}
	return ruleio.Union(out)
}

// directRanges returns the ports of a protocol whose connections bypass the proxy.
func directRanges(ports []int32, excluded []v1alpha1.PortRange, protocol v1alpha1.PortProtocol) []ruleio.PortRange {
	return ruleio.Union(ruleio.Ports(portList(ports)...), rangesOf(excluded, protocol))
}

// portList returns the valid port numbers in ascending order without duplicates,
// nil if there are none.
func portList(ports []int32) []uint16 {
	var out []uint16
	for _, p := range ports {
		if p >= 1 && p <= validate.MaxPort {
			out = append(out, uint16(p))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
