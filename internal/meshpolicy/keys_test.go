// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"meshvm.io/meshvm/api/v1alpha1"
)

// TestSelectorKeys: every policy that selects a workload has one of the workload's keys.
func TestSelectorKeys(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // Reproducible.
	some := func(n int) map[string]string {
		out := map[string]string{}
		for _, key := range []string{"app", "version", v1alpha1.LabelMeshedVirtualMachine} {
			if random.IntN(n) == 0 {
				out[key] = fmt.Sprint(random.IntN(2))
			}
		}
		return out
	}
	selected := 0
	for range 2000 {
		selector, labels, other := some(2), some(1), some(1)
		if !selects(selector, labels) {
			continue
		}
		selected++
		if key := SelectorKey(selector); !slices.Contains(SelectorKeys(other, labels), key) {
			t.Fatalf("the policy for %v selects %v, whose keys do not contain %q", selector, labels, key)
		}
	}
	if selected < 100 {
		t.Errorf("only %d policies selected a workload", selected)
	}
	if key := SelectorKey(map[string]string{"app": "web", v1alpha1.LabelMeshedVirtualMachine: "db"}); slices.Contains(SelectorKeys(map[string]string{"app": "web"}), key) {
		t.Errorf("the policy of another guest has the key %q of this guest", key)
	}
}
