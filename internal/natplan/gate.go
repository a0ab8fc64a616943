// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/startgate"
)

// gatePorts are the ports of the rule that the gate's containers test.
func gatePorts(pod *corev1.Pod) v1alpha1.GatePorts {
	if !startgate.HasGate(pod) && !startgate.HasWatch(pod) {
		return v1alpha1.GatePorts{}
	}
	return v1alpha1.GatePorts{Port: int32(ruleio.GatePort), AnswerPort: int32(ruleio.GateAnswerPort)}
}

// planGate refuses ports other than the ports of the gate's containers.
func planGate(g v1alpha1.GatePorts, path *field.Path) (*ruleio.Gate, error) {
	switch g {
	case v1alpha1.GatePorts{}:
		return nil, nil //nolint:nilnil // A pod without a gate is not an error.
	case v1alpha1.GatePorts{Port: int32(ruleio.GatePort), AnswerPort: int32(ruleio.GateAnswerPort)}:
		return &ruleio.Gate{Port: ruleio.GatePort, AnswerPort: ruleio.GateAnswerPort}, nil
	default:
		return nil, invalidf(v1alpha1.ReasonInvalidPort, path.String(),
			"must be port %d and answerPort %d, the ports of the gate's containers", ruleio.GatePort, ruleio.GateAnswerPort)
	}
}
