// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/validate"
)

// nothingRead is the scope of a reconcile that ended before it read an object.
func nothingRead(s *scope) {
	s.vmi, s.pods, s.podsKnown, s.nats, s.strays = nil, nil, false, nil, nil
	s.children, s.failures, s.vm, s.policies = nil, nil, nil, nil
}

// missing is the scope of a reconcile without the CRDs of a project.
func missing(project children.Upstream) func(*scope) {
	return func(s *scope) {
		nothingRead(s)
		s.missing, s.dependenciesKnown = &dependency{project: project}, false
	}
}

// TestOptionalConditions checks that a condition that is present only while its cause
// exists stays, for the generation of its last computation, in a reconcile that could not
// read its input, and ends only when its input was read.
func TestOptionalConditions(t *testing.T) {
	const (
		conflicted = v1alpha1.ConditionConflicted
		restart    = v1alpha1.ConditionRestartRequired
		adjusted   = v1alpha1.ConditionVirtualMachineAdjusted
		strays     = v1alpha1.ConditionStrayGuests
		start      = v1alpha1.ConditionStartNotHeld
	)
	all := []v1alpha1.ConditionType{conflicted, restart, adjusted, strays, start}
	tests := map[string]struct {
		change func(*scope)
		stay   []v1alpha1.ConditionType
	}{
		"everything was read":           {func(*scope) {}, nil},
		"nothing was read":              {nothingRead, all},
		"the CRDs could not be read":    {func(s *scope) { nothingRead(s); s.dependenciesKnown = false }, all},
		"Istio is missing":              {missing(children.UpstreamIstio), all},
		"KubeVirt is missing":           {missing(children.UpstreamKubeVirt), []v1alpha1.ConditionType{conflicted}},
		"the children were not listed":  {func(s *scope) { s.children, s.failures, s.vm = nil, nil, nil }, []v1alpha1.ConditionType{conflicted, restart, adjusted}},
		"the pods were not listed":      {func(s *scope) { s.pods, s.podsKnown = nil, false }, []v1alpha1.ConditionType{restart, start}},
		"the instances were not listed": {func(s *scope) { s.strays = nil }, []v1alpha1.ConditionType{strays}},
		"the spec is not accepted":      {func(s *scope) { s.invalid, s.failures = &validate.Invalid{Reason: v1alpha1.ReasonInvalidPort}, nil }, []v1alpha1.ConditionType{conflicted}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			earlier := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
			var before []metav1.Condition
			for _, name := range all {
				before = append(before, metav1.Condition{
					Type: string(name), Status: metav1.ConditionTrue, Reason: "Earlier", Message: "earlier", ObservedGeneration: 1, LastTransitionTime: earlier,
				})
			}
			s := world(func(s *scope) {
				s.mvm.Generation, s.mvm.Spec.Start = 2, v1alpha1.StartPolicyImmediate
				s.before.Status.Conditions, s.mvm.Status.Conditions = before, before
			}, tc.change)
			s.writeStatus()
			var want []metav1.Condition
			for _, name := range tc.stay {
				want = append(want, *meta.FindStatusCondition(before, string(name)))
			}
			var got []metav1.Condition
			for _, name := range all {
				if c := meta.FindStatusCondition(s.mvm.Status.Conditions, string(name)); c != nil {
					got = append(got, *c)
				}
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestOptionalConditionsThatNeverWere checks that a reconcile that read nothing adds no
// condition.
func TestOptionalConditionsThatNeverWere(t *testing.T) {
	if got := world(nothingRead).optional(); len(got) > 0 {
		t.Errorf("got %v", got)
	}
}

// TestPodsThatWereNotRead checks that nothing is claimed about pods that were not read.
func TestPodsThatWereNotRead(t *testing.T) {
	for name, change := range map[string]func(*scope){
		"nothing was read":                    nothingRead,
		"the configurations were not listed":  func(s *scope) { s.nats, s.podsKnown = nil, false },
		"a hidden pod was not read":           func(s *scope) { s.pods, s.podsKnown = nil, false },
		"a pod of a stopped guest was unread": func(s *scope) { stoppedWith("Halted")(s); s.podsKnown = false },
	} {
		t.Run(name, func(t *testing.T) {
			all := world(change).conditions()
			if c, _ := conditions.Find(all, v1alpha1.ConditionNATProgrammed); c.Status != metav1.ConditionUnknown {
				t.Errorf("NATProgrammed is %s: %s", c.Status, c.Message)
			}
		})
	}
}
