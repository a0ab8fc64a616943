// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

// TestExportTo checks the rules of Istio for exportTo of a guest in the namespace
// shop.
func TestExportTo(t *testing.T) {
	for name, tc := range map[string]struct {
		exportTo, want []string
	}{
		"all namespaces":             {[]string{"*"}, nil},
		"the namespace and another":  {[]string{"shop", "ingress"}, nil},
		"all namespaces and another": {[]string{"*", "ingress"}, []string{"InvalidSpec spec.mesh.exportTo[0]"}},
		"the namespace twice":        {[]string{".", "ingress", "shop"}, []string{"InvalidSpec spec.mesh.exportTo[2]"}},
		"no namespace":               {[]string{"~"}, []string{"InvalidSpec spec.mesh.exportTo[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(b.MVM("web").ExportTo(tc.exportTo...).Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}
