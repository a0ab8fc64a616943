// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

func TestOwners(t *testing.T) {
	reference := func(kind, name string) []metav1.OwnerReference {
		return []metav1.OwnerReference{{Kind: kind, Name: name, Controller: new(true)}}
	}
	label := map[string]string{v1alpha1.LabelMeshedVirtualMachine: "web"}
	for name, tc := range map[string]struct {
		meta metav1.ObjectMeta
		want []string
	}{
		"controlled and labeled":           {metav1.ObjectMeta{OwnerReferences: reference("MeshedVirtualMachine", "web"), Labels: label}, []string{"web"}},
		"without the label":                {metav1.ObjectMeta{OwnerReferences: reference("MeshedVirtualMachine", "web")}, []string{"web"}},
		"without a controller":             {metav1.ObjectMeta{Labels: label}, []string{"web"}},
		"with the label of another":        {metav1.ObjectMeta{OwnerReferences: reference("MeshedVirtualMachine", "db"), Labels: label}, []string{"db", "web"}},
		"controlled by another kind":       {metav1.ObjectMeta{OwnerReferences: reference("Deployment", "db")}, nil},
		"without controller and label":     {metav1.ObjectMeta{}, nil},
		"owned by, but without control of": {metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{Kind: "MeshedVirtualMachine", Name: "web"}}}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1alpha1.PodNATConfiguration{ObjectMeta: tc.meta}
			if diff := cmp.Diff(tc.want, children.Owners(c)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
