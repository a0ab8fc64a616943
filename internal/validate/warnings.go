// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"fmt"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Warnings returns messages about an accepted object whose behaviour can surprise its
// user.
func Warnings(mvm *v1alpha1.MeshedVirtualMachine) []string {
	var out []string
	if w := IgnoredPause(mvm.Annotations); w != "" {
		out = append(out, w)
	}
	if mvm.Spec.Start == v1alpha1.StartPolicyImmediate {
		out = append(out, "spec.start: with Immediate, the first packets of the guest can bypass the mesh: use AfterProgrammed to delay the guest until its rules are verified")
	}
	if len(mvm.Spec.Ports) == 0 {
		out = append(out, "spec.ports: the guest has no ports, so it has no Service and no address, and can only open connections: add ports to make it reachable")
	}
	return out
}

// IgnoredPause returns a message about an annotation whose value a user may expect to
// suspend reconciliation, or nothing.
func IgnoredPause(annotations map[string]string) string {
	switch value, set := annotations[v1alpha1.AnnotationPaused]; {
	case !set, value == "false", value == "true":
		return ""
	default:
		return fmt.Sprintf("reconciliation is not suspended: the annotation %s must have the value \"true\" to suspend it, and has the value %q", v1alpha1.AnnotationPaused, value)
	}
}
