// SPDX-License-Identifier: Apache-2.0

package meshpolicy_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
)

func TestModes(t *testing.T) {
	modes := map[int32]v1alpha1.MTLSMode{9090: v1alpha1.MTLSModePermissive, 80: v1alpha1.MTLSModeStrict}
	text := meshpolicy.FormatModes([]int32{9090, 80}, func(port int32) v1alpha1.MTLSMode { return modes[port] })
	if text != "80=Strict,9090=Permissive" {
		t.Error(text)
	}
	if diff := cmp.Diff(modes, meshpolicy.ParseModes(text)); diff != "" {
		t.Error(diff)
	}
	if got := meshpolicy.ParseModes("x,=,y=Strict"); len(got) > 0 {
		t.Errorf("%v", got)
	}
}
