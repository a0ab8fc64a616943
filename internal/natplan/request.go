// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// ApplyRequest asks for the rules of the configuration in its pod, which must
// have an address. Its errors are those of Plan.
func ApplyRequest(config *v1alpha1.PodNATConfiguration, pod *corev1.Pod) (ruleio.Request, error) {
	target := targetOf(config, pod, ruleio.OperationApply)
	plan, err := Plan(config.Spec, target.PodIPs)
	if err != nil {
		return ruleio.Request{}, err
	}
	target.Plan, target.Reset = plan, config.Spec.OnChange == v1alpha1.ChangePolicyReset
	return request(target), nil
}

// RemoveRequest asks for the removal of meshvm's table from the pod.
func RemoveRequest(config *v1alpha1.PodNATConfiguration, pod *corev1.Pod) ruleio.Request {
	return request(targetOf(config, pod, ruleio.OperationRemove))
}

func targetOf(config *v1alpha1.PodNATConfiguration, pod *corev1.Pod, op ruleio.Operation) ruleio.Target {
	target := ruleio.Target{Operation: op, PodUID: string(config.Spec.Pod.UID)}
	for _, ip := range pod.Status.PodIPs {
		target.PodIPs = append(target.PodIPs, ip.IP)
	}
	return target
}

func request(t ruleio.Target) ruleio.Request {
	return ruleio.Request{Version: ruleio.RequestVersion, Targets: []ruleio.Target{t}}
}
