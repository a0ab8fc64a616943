// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshvm.io/meshvm/internal/children"
)

func TestPodNATConfigurationName(t *testing.T) {
	seen := map[string]bool{}
	for _, mvm := range []string{"a", "web", strings.Repeat("a", 47), strings.Repeat("a", 51) + "-b", strings.Repeat("a", 80)} {
		for _, uid := range []types.UID{"0b4b1e9e-6f3c-4a52-8a3c-5f9e8d1c2b3a", "0b4b1e9e-6f3c-4a52-8a3c-5f9e8d1c2b3b"} {
			got := children.PodNATConfigurationName(mvm, uid)
			if errs := validation.IsDNS1123Label(got); len(errs) != 0 {
				t.Errorf("%q is not a label value: %v", got, errs)
			}
			if seen[got] {
				t.Errorf("%q is the name of two objects", got)
			}
			seen[got] = true
			if again := children.PodNATConfigurationName(mvm, uid); again != got {
				t.Errorf("one pod has the names %q and %q", got, again)
			}
		}
	}
}
