// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/startgate"
	"meshvm.io/meshvm/internal/validate"
)

// gatePorts returns the ports of the rule that the pod's gate containers test,
// zero for a pod without such containers.
func gatePorts(pod *corev1.Pod) v1alpha1.GatePorts {
	if !startgate.HasGate(pod) && !startgate.HasWatch(pod) {
		return v1alpha1.GatePorts{}
	}
	return v1alpha1.GatePorts{Port: int32(ruleio.GatePort), AnswerPort: int32(ruleio.GateAnswerPort)}
}

// planGate rejects ports that the gate's containers do not use.
func planGate(g v1alpha1.GatePorts, path *field.Path) (*ruleio.Gate, error) {
	switch g {
	case v1alpha1.GatePorts{}:
		return nil, nil //nolint:nilnil // A pod without a gate is not an error.
	case v1alpha1.GatePorts{Port: int32(ruleio.GatePort), AnswerPort: int32(ruleio.GateAnswerPort)}:
		return &ruleio.Gate{Port: ruleio.GatePort, AnswerPort: ruleio.GateAnswerPort}, nil
	default:
		return nil, validate.Invalidf(v1alpha1.ReasonInvalidPort, path,
			"must be port %d and answerPort %d, which the gate's containers use", ruleio.GatePort, ruleio.GateAnswerPort)
	}
}
