// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/validate"
)

var portNumber = regexp.MustCompile(`\b\d{4,5}\b`)

// TestReservedPortsInTheCRD fails when a port is added to validate.ReservedPorts and
// not to the CEL rules, and their messages, in api/v1alpha1, or the other way round.
func TestReservedPortsInTheCRD(t *testing.T) {
	crd := readCRD(t)
	want := slices.Sorted(slices.Values(validate.ReservedPorts))
	found := 0
	for _, rule := range validations(crd) {
		message, _ := rule["message"].(string)
		if !strings.Contains(message, "reserved") {
			continue
		}
		found++
		for _, part := range []string{"rule", "message"} {
			text, _ := rule[part].(string)
			var got []int32
			for _, digits := range portNumber.FindAllString(text, -1) {
				n, err := strconv.ParseInt(digits, 10, 32)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, int32(n))
			}
			if slices.Sort(got); !slices.Equal(got, want) {
				t.Errorf("the %s %q lists %v, and validate.ReservedPorts lists %v: change the markers in api/v1alpha1 and run make manifests", part, text, got, want)
			}
		}
	}
	if found != 2 {
		t.Errorf("%d rules about reserved ports in the CRD, want 2: spec.ports and spec.capture.inbound.excludePorts", found)
	}
}

// validations collects all CEL rules below a node of a CRD.
func validations(node any) []map[string]any {
	var out []map[string]any
	switch n := node.(type) {
	case map[string]any:
		for key, value := range n {
			list, isList := value.([]any)
			if key != "x-kubernetes-validations" || !isList {
				out = append(out, validations(value)...)
				continue
			}
			for _, rule := range list {
				if m, ok := rule.(map[string]any); ok {
					out = append(out, m)
				}
			}
		}
	case []any:
		for _, value := range n {
			out = append(out, validations(value)...)
		}
	}
	return out
}
