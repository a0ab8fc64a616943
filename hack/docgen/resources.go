// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"strings"

	"meshvm.io/meshvm/internal/children"
)

// ownedResources replaces the resources of MeshedVirtualMachine in the base of the
// OLM bundle with the kinds of internal/children.
func ownedResources(base string) (string, error) {
	const start, item = "      kind: MeshedVirtualMachine\n", "      - {"
	before, rest, found := strings.Cut(base, start)
	if !found {
		return "", fmt.Errorf("the base does not contain %q", strings.TrimSpace(start))
	}
	display, rest, found := strings.Cut(rest, "      resources:\n")
	if !found || !strings.HasPrefix(rest, item) {
		return "", fmt.Errorf("the base does not list resources after %q", strings.TrimSpace(start))
	}
	for strings.HasPrefix(rest, item) {
		_, rest, _ = strings.Cut(rest, "\n")
	}
	var list strings.Builder
	for i, k := range children.Kinds() {
		name := children.Resources()[i]
		if k.Group == "" {
			name = `""`
		}
		fmt.Fprintf(&list, "%sname: %s, kind: %s, version: %s}\n", item, name, k.Kind, k.Version)
	}
	return before + start + display + "      resources:\n" + list.String() + rest, nil
}
