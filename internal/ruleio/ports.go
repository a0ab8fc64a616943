// SPDX-License-Identifier: Apache-2.0

package ruleio

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// PortRange is a closed range of ports. Its JSON form is a number for a single
// port and the string "FIRST-LAST" for a range.
type PortRange struct{ First, Last uint16 }

// Ports converts ports to ranges of one port each.
func Ports(ports ...uint16) []PortRange {
	out := make([]PortRange, len(ports))
	for i, p := range ports {
		out[i] = PortRange{p, p}
	}
	return out
}

// Contains reports whether the port is in the range.
func (r PortRange) Contains(port uint16) bool { return r.First <= port && port <= r.Last }

// String returns the range in nft's notation.
func (r PortRange) String() string {
	first := strconv.Itoa(int(r.First))
	if r.First == r.Last {
		return first
	}
	return first + "-" + strconv.Itoa(int(r.Last))
}

// MarshalJSON encodes a range.
func (r PortRange) MarshalJSON() ([]byte, error) {
	if r.First == r.Last {
		return []byte(r.String()), nil
	}
	return json.Marshal(r.String())
}

// UnmarshalJSON is the inverse of MarshalJSON.
func (r *PortRange) UnmarshalJSON(b []byte) error {
	text := string(bytes.Trim(b, `"`))
	from, to, isRange := strings.Cut(text, "-")
	if !isRange {
		to = from
	}
	first, err := strconv.ParseUint(from, 10, 16)
	if err != nil {
		return fmt.Errorf("port range %s: %w", b, err)
	}
	last, err := strconv.ParseUint(to, 10, 16)
	if err != nil {
		return fmt.Errorf("port range %s: %w", b, err)
	}
	*r = PortRange{uint16(first), uint16(last)}
	return nil
}

// Union sorts ranges and merges overlapping ranges. It returns nil for an empty
// list.
func Union(lists ...[]PortRange) []PortRange {
	sorted := slices.Concat(lists...)
	slices.SortFunc(sorted, func(a, b PortRange) int { return cmp.Compare(a.First, b.First) })
	var out []PortRange
	for _, r := range sorted {
		if n := len(out); n > 0 && r.First <= out[n-1].Last {
			out[n-1].Last = max(out[n-1].Last, r.Last)
			continue
		}
		out = append(out, r)
	}
	return out
}
