// SPDX-License-Identifier: Apache-2.0

package nat

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
)

var update = flag.Bool("update", false, "write the golden files")

// verified returns a machine with one pod whose rules were read back as wanted, and with
// changes to the PodNATConfiguration.
func verified(t *testing.T, changes ...func(*v1alpha1.PodNATConfiguration)) observed {
	t.Helper()
	at := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	mvm := b.MVM("web").Namespace("shop").Ports(b.HTTP("http", 80, 8080), b.Direct("ssh", 22)).Obj()
	pod := b.LauncherPod(b.VMI("web").Namespace("shop").Obj(), "abcde").Node("node-1").IP("10.244.0.8").Obj()
	nat := b.PodNAT("web-0123456789", pod).Obj()
	_, digest, table, err := wanted(nat, pod)
	if err != nil {
		t.Fatal(err)
	}
	nat.Status = v1alpha1.PodNATConfigurationStatus{
		Conditions: []metav1.Condition{{Type: string(v1alpha1.ConditionProgrammed), Status: metav1.ConditionTrue, Reason: string(v1alpha1.ReasonProgrammed)}},
		Applied: v1alpha1.AppliedRules{
			RequestDigest: digest, Digest: table.Digest(), Rules: int32(table.RuleCount()), Time: &at, Node: "node-1", //nolint:gosec // A table has few rules.
		},
		Counters: v1alpha1.TrafficCounters{Captured: new(int64(7)), Direct: new(int64(2)), Dropped: new(int64(0))},
		Repairs:  v1alpha1.RepairsStatus{Count: 1, LastTime: &at, LastReason: v1alpha1.ReasonDrifted, LastMessage: "chain prerouting: a rule is missing"},
	}
	for _, change := range changes {
		change(nat)
	}
	return observed{mvm: mvm, nats: []v1alpha1.PodNATConfiguration{*nat}, pods: map[types.UID]*corev1.Pod{pod.UID: pod}}
}

func TestTextGolden(t *testing.T) {
	file := filepath.Join("testdata", "verified.golden")
	got := compute(verified(t)).Text()
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("run go test -update and read the difference:\n%s", diff)
	}
}

func TestDifferences(t *testing.T) {
	for _, test := range []struct {
		name   string
		change func(*v1alpha1.PodNATConfiguration)
		want   string
	}{
		{"verified", func(*v1alpha1.PodNATConfiguration) {}, ""},
		{"nothing read back", func(n *v1alpha1.PodNATConfiguration) { n.Status.Applied = v1alpha1.AppliedRules{} }, "no rules were read back"},
		{"another plan", func(n *v1alpha1.PodNATConfiguration) { n.Spec.Inbound.Mesh = []int32{9999} }, "those of another request"},
		{"another table", func(n *v1alpha1.PodNATConfiguration) { n.Status.Applied.Digest = strings.Repeat("0", 64) }, "another digest"},
		{"drift", func(n *v1alpha1.PodNATConfiguration) {
			n.Status.Conditions[0] = metav1.Condition{Type: string(v1alpha1.ConditionProgrammed), Status: metav1.ConditionFalse, Reason: "Drifted", Message: "a rule is missing"}
		}, "read back earlier: Drifted: a rule is missing"},
		{"invalid plan", func(n *v1alpha1.PodNATConfiguration) { n.Spec.Inbound.Mesh = []int32{15006} }, "no rules can be computed"},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := compute(verified(t, test.change))
			got := r.Pods[0].Difference
			if r.AsDeclared != (test.want == "") || !strings.Contains(got, test.want) || (test.want == "") != (got == "") {
				t.Errorf("the difference is %q (as declared: %t), want %q", got, r.AsDeclared, test.want)
			}
		})
	}
}

// TestNoPods checks the verdict of a machine without pods.
func TestNoPods(t *testing.T) {
	o := observed{mvm: b.MVM("web").Namespace("shop").Obj()}
	if r := compute(o); r.AsDeclared || r.Verdict != "shop/web has no pod with rules" {
		t.Errorf("the result is %+v", r)
	}
	o.mvm.Status.Conditions = []metav1.Condition{{Type: string(v1alpha1.ConditionNATProgrammed), Status: metav1.ConditionTrue, Reason: "NoPod"}}
	if r := compute(o); !r.AsDeclared {
		t.Errorf("the result of a stopped machine is %+v", r)
	}
}
