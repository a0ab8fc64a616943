// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
)

// ApplyRequest returns the request to write the rules of the configuration into
// its pod. The pod must have an address. Errors are as for Plan.
func ApplyRequest(config *v1alpha1.PodNATConfiguration, pod *corev1.Pod) (ruleio.Request, error) {
	target := targetOf(config, pod, ruleio.OperationApply)
	plan, err := Plan(config.Spec, target.PodIPs)
	if err != nil {
		return ruleio.Request{}, err
	}
	target.Plan, target.Reset = plan, config.Spec.OnChange == v1alpha1.ChangePolicyReset
	return request(target), nil
}

// RemoveRequest returns the request to remove meshvm's table from the pod.
func RemoveRequest(config *v1alpha1.PodNATConfiguration, pod *corev1.Pod) ruleio.Request {
	return request(targetOf(config, pod, ruleio.OperationRemove))
}

func targetOf(config *v1alpha1.PodNATConfiguration, pod *corev1.Pod, op ruleio.Operation) ruleio.Target {
	return ruleio.Target{Operation: op, PodUID: string(config.Spec.Pod.UID), PodIPs: addressesOf(pod)}
}

func request(t ruleio.Target) ruleio.Request {
	return ruleio.Request{Version: ruleio.RequestVersion, Targets: []ruleio.Target{t}}
}
