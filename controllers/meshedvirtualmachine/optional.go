// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"errors"
	"slices"
	"strings"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
)

// optionalCondition is a condition that is present only while its cause exists.
type optionalCondition struct {
	name v1alpha1.ConditionType
	// known reports whether this reconcile read the input of the condition.
	known func(*scope) bool
	// needsKubeVirt is set if the cause cannot exist without the CRDs of KubeVirt.
	needsKubeVirt bool
	// compute returns the condition, and whether its cause exists.
	compute func(*scope) (conditions.Condition, bool)
}

var optionalConditions = []optionalCondition{
	{v1alpha1.ConditionConflicted, (*scope).conflictsKnown, false, (*scope).conflicted},
	{v1alpha1.ConditionPatched, (*scope).conflictsKnown, false, (*scope).patched},
	{v1alpha1.ConditionAdopted, (*scope).adoptionKnown, true, (*scope).adopted},
	{v1alpha1.ConditionRestartRequired, (*scope).guestKnown, true, (*scope).restart},
	{v1alpha1.ConditionVirtualMachineAdjusted, (*scope).childrenKnown, true, (*scope).adjusted},
	{v1alpha1.ConditionStrayGuests, (*scope).straysKnown, true, (*scope).strayGuests},
	{v1alpha1.ConditionServiceShared, (*scope).membersKnown, true, (*scope).serviceShared},
	{v1alpha1.ConditionTrafficShifted, (*scope).membersKnown, true, (*scope).trafficShifted},
	{v1alpha1.ConditionStartNotHeld, func(s *scope) bool { return s.podsKnown }, true, (*scope).startNotHeld},
}

// optional returns the optional conditions that are present. A condition whose input was
// not read is unchanged: if it were removed, its cause would seem to be resolved.
func (s *scope) optional() []conditions.Condition {
	var out []conditions.Condition
	for _, o := range optionalConditions {
		c, present := o.compute(s)
		switch {
		case present:
			out = append(out, c)
		case o.known(s), o.needsKubeVirt && s.missing != nil && s.missing.project == children.UpstreamKubeVirt:
		default:
			if c, present = conditions.Unchanged(s.before.Status.Conditions, o.name); present {
				out = append(out, c)
			}
		}
	}
	return out
}

// conflictsKnown reports whether the desired objects were compared with the existing ones.
func (s *scope) conflictsKnown() bool { return s.failures != nil && s.invalid == nil }

// childrenKnown reports whether the children were applied or listed.
func (s *scope) childrenKnown() bool { return s.children != nil }

func (s *scope) guestKnown() bool { return s.podsKnown && s.children != nil }

func (s *scope) membersKnown() bool { return s.serviceKnown }

func (s *scope) straysKnown() bool { return s.strays != nil }

func (s *scope) conflicted() (conditions.Condition, bool) {
	names := s.conflicts()
	return conditions.True(v1alpha1.ConditionConflicted, v1alpha1.ReasonConflict, strings.Join(names, "; ")), len(names) > 0
}

func (s *scope) restart() (conditions.Condition, bool) {
	if message := s.sidecarMissing(); message != "" {
		return conditions.True(v1alpha1.ConditionRestartRequired, v1alpha1.ReasonSidecarMissing, message), true
	}
	message := s.restartRequired()
	return conditions.True(v1alpha1.ConditionRestartRequired, v1alpha1.ReasonRestartRequired, message), message != ""
}

// conflicts returns sorted descriptions of the conflicting objects.
func (s *scope) conflicts() []string {
	var out []string
	for _, err := range s.failures {
		if errors.Is(err, apply.ErrConflict) {
			out = append(out, err.Error())
		}
	}
	slices.Sort(out)
	return out
}
