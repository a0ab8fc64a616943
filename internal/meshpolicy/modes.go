// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"slices"
	"strconv"
	"strings"

	"meshvm.io/meshvm/api/v1alpha1"
)

// FormatModes returns the value of v1alpha1.AnnotationMutualTLS for the ports.
func FormatModes(ports []int32, mode func(port int32) v1alpha1.MTLSMode) string {
	ports = slices.Sorted(slices.Values(ports))
	entries := make([]string, len(ports))
	for i, port := range ports {
		entries[i] = strconv.Itoa(int(port)) + "=" + string(mode(port))
	}
	return strings.Join(entries, ",")
}

// ParseModes is the inverse of FormatModes. It ignores entries that FormatModes does not
// write.
func ParseModes(text string) map[int32]v1alpha1.MTLSMode {
	out := map[int32]v1alpha1.MTLSMode{}
	for entry := range strings.SplitSeq(text, ",") {
		port, mode, _ := strings.Cut(entry, "=")
		if n, err := strconv.ParseInt(port, 10, 32); err == nil {
			out[int32(n)] = v1alpha1.MTLSMode(mode)
		}
	}
	return out
}
