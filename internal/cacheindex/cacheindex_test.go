// SPDX-License-Identifier: Apache-2.0

package cacheindex

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// indexes records the indexes of a cache.
type indexes map[string]client.IndexerFunc

func (i indexes) IndexField(_ context.Context, o client.Object, name string, values client.IndexerFunc) error {
	if _, typed := o.(*v1alpha1.PodNATConfiguration); typed {
		i[name] = values
	}
	return nil
}

func TestIndexesOfPodNATConfigurations(t *testing.T) {
	all := indexes{}
	if err := Add(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	ready := func(status metav1.ConditionStatus, generation int64) []metav1.Condition {
		return []metav1.Condition{{Type: string(v1alpha1.ConditionReady), Status: status, ObservedGeneration: generation}}
	}
	deleted := metav1.Unix(1, 0)
	for name, tc := range map[string]struct {
		change func(*v1alpha1.PodNATConfiguration)
		want   map[string][]string
	}{
		"ready":             {func(*v1alpha1.PodNATConfiguration) {}, map[string][]string{Node: {"node-a"}}},
		"edited since":      {func(c *v1alpha1.PodNATConfiguration) { c.Generation = 3 }, map[string][]string{Node: {"node-a"}, Unfinished: {True}}},
		"not ready":         {func(c *v1alpha1.PodNATConfiguration) { c.Status.Conditions = ready(metav1.ConditionFalse, 2) }, map[string][]string{Node: {"node-a"}, Unfinished: {True}}},
		"deleted":           {func(c *v1alpha1.PodNATConfiguration) { c.DeletionTimestamp = &deleted }, map[string][]string{Node: {"node-a"}, Unfinished: {True}}},
		"without rules yet": {func(c *v1alpha1.PodNATConfiguration) { c.Status = v1alpha1.PodNATConfigurationStatus{} }, map[string][]string{Unfinished: {True}}},
		"labeled": {func(c *v1alpha1.PodNATConfiguration) {
			c.Labels = map[string]string{v1alpha1.LabelMeshedVirtualMachine: "web", "app": "web"}
		}, map[string][]string{Node: {"node-a"}, field(v1alpha1.LabelMeshedVirtualMachine): {"web"}, Owner: {"web"}}},
	} {
		t.Run(name, func(t *testing.T) {
			c := &v1alpha1.PodNATConfiguration{}
			c.Generation = 2
			c.Status.Applied.Node = "node-a"
			c.Status.Conditions = ready(metav1.ConditionTrue, 2)
			tc.change(c)
			got := map[string][]string{}
			for name, values := range all {
				if v := values(c); len(v) > 0 {
					got[name] = v
				}
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	got := Labels(map[string]string{v1alpha1.LabelMeshedVirtualMachine: "web"})
	if diff := cmp.Diff(client.MatchingFields{field(v1alpha1.LabelMeshedVirtualMachine): "web"}, got); diff != "" {
		t.Error(diff)
	}
	if o := Object(children.ServiceKind); o.GroupVersionKind() != children.ServiceKind {
		t.Errorf("the kind of the object is %s", o.GroupVersionKind())
	}
}
