// SPDX-License-Identifier: Apache-2.0

package startgate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/internal/startgate"
)

// TestRelease checks which labels the webhook removes from the pod of a copy.
func TestRelease(t *testing.T) {
	const (
		mvm     = "/metadata/labels/meshvm.io~1meshed-virtual-machine"
		manager = "/metadata/labels/app.kubernetes.io~1managed-by"
	)
	for name, tc := range map[string]struct {
		labels map[string]string
		want   []string
	}{
		"none":                 {},
		"the operator's label": {map[string]string{"meshvm.io/meshed-virtual-machine": "web", "app.kubernetes.io/managed-by": "meshvm"}, []string{manager, mvm}},
		"the Service":          {map[string]string{"meshvm.io/meshed-virtual-machine": "web", "meshvm.io/service": "web"}, []string{mvm, "/metadata/labels/meshvm.io~1service"}},
		"the user's label":     {map[string]string{"meshvm.io/meshed-virtual-machine": "web", "app.kubernetes.io/managed-by": "Helm"}, []string{mvm}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			for _, op := range startgate.Release(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: tc.labels}}) {
				got = append(got, op.Path)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
