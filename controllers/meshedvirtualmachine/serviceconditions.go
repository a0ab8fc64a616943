// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/meshservice"
)

// outOfDate reports whether an error only describes a difference.
func outOfDate(err error) bool { return errors.Is(err, apply.ErrDiffers) }

// serviceShared returns the condition about the members of a shared Service.
func (s *scope) serviceShared() (conditions.Condition, bool) {
	if !s.shares() {
		return conditions.Condition{}, false
	}
	names := make([]string, 0, len(s.service.Members))
	for _, m := range s.service.Members {
		names = append(names, m.MVM.Name)
	}
	message := fmt.Sprintf("%s share Service %s, and %s is the lead, whose settings apply", listed(names), s.service.Name, names[0])
	if fields := meshservice.WithoutEffect(s.service.Lead(), s.mvm); len(fields) > 0 {
		message += fmt.Sprintf("; these settings have no effect here, because the lead has other values: %s", listed(fields))
	}
	if s.service.Retained {
		message += "; the traffic percentages are those of the last accepted specs, because the spec of a member is not accepted"
		if conflicts := slices.Sorted(maps.Keys(s.service.Conflicts)); len(conflicts) > 0 {
			message += ": " + listed(conflicts)
		}
	}
	if ports := s.notSplit(); len(s.service.Versions) > 1 && len(ports) > 0 {
		message += fmt.Sprintf("; the traffic of these ports is distributed by the number of pods: %s", listed(ports))
	}
	return conditions.True(v1alpha1.ConditionServiceShared, v1alpha1.ReasonSeveralMembers, message), true
}

// notSplit returns the ports whose traffic the routes do not distribute to versions.
func (s *scope) notSplit() []string {
	var out []string
	lead := s.service.Lead()
	for _, p := range lead.Spec.Ports {
		if lead.Spec.IsHeadless() || !lead.Spec.HasRoute(p) {
			out = append(out, p.Name)
		}
	}
	return out
}

// trafficShifted returns the condition about versions that do not serve.
func (s *scope) trafficShifted() (conditions.Condition, bool) {
	if !s.shares() {
		return conditions.Condition{}, false
	}
	var parts []string
	for _, v := range s.service.Shifted() {
		reason := "no guest of it serves"
		if v.Serving {
			reason = fmt.Sprintf("it has served for less than %s", meshservice.Settle)
		}
		parts = append(parts, fmt.Sprintf("version %s has %d instead of %d percent because %s", v.Name, v.Effective, v.Declared, reason))
	}
	return conditions.True(v1alpha1.ConditionTrafficShifted, v1alpha1.ReasonVersionNotServing,
		"other versions receive the traffic: "+strings.Join(parts, "; ")), len(parts) > 0
}

// maxListed is the number of names in a message.
const maxListed = 8

func listed(names []string) string {
	return conditions.Enumerate(names, maxListed, ", ", func(name string) string { return name })
}
