// SPDX-License-Identifier: Apache-2.0

package requirement_test

import (
	"fmt"
	"testing"

	"meshvm.io/meshvm/internal/requirement"
)

// ended records how a test was ended.
type ended struct {
	testing.TB
	how string
}

func (e *ended) Helper() {}
func (e *ended) Fatalf(format string, args ...any) {
	e.how += "failed: " + fmt.Sprintf(format, args...)
}

func (e *ended) Skipf(format string, args ...any) {
	e.how += "skipped: " + fmt.Sprintf(format, args...)
}

func TestUnmet(t *testing.T) {
	for value, want := range map[string]string{
		"":  "skipped: no program nft",
		"0": "skipped: no program nft",
		"1": "failed: no program nft (MESHVM_REQUIRE_KERNEL=1 forbids skipping)",
	} {
		t.Setenv(string(requirement.Kernel), value)
		e := &ended{}
		requirement.Kernel.Unmet(e, "no program %s", "nft")
		if e.how != want {
			t.Errorf("with %q the test is ended with %q, want %q", value, e.how, want)
		}
	}
}
