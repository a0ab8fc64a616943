// SPDX-License-Identifier: Apache-2.0

package children

import (
	"slices"
	"strconv"

	"istio.io/api/label"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
)

// usesWaypoint reports whether the waypoint of the spec enforces the policies. While a pod
// with a sidecar is live, which is the case after a change of the data plane until the next
// start, its proxy enforces them.
func (in Input) usesWaypoint() bool {
	return in.MVM.Spec.Mesh.Waypoint.IsSet() && !slices.ContainsFunc(in.LauncherPods, func(pod corev1.Pod) bool {
		return launcherpod.DataPlane(&pod) == v1alpha1.DataPlaneSidecar
	})
}

// waypointLabels returns the labels of a Service that bind it to the waypoint of the
// spec, also for the connections of ingress gateways (Istio, API reference of labels).
func waypointLabels(mvm *v1alpha1.MeshedVirtualMachine) map[string]string {
	if !mvm.Spec.Mesh.Waypoint.IsSet() {
		return nil
	}
	return map[string]string{
		label.IoIstioUseWaypoint.Name:          mvm.Spec.Mesh.Waypoint.Name,
		label.IoIstioUseWaypointNamespace.Name: mvm.WaypointNamespace(),
		label.IoIstioIngressUseWaypoint.Name:   "true",
	}
}

// serviceTarget attaches a policy to the Service. A waypoint ignores selectors.
func serviceTarget(mvm *v1alpha1.MeshedVirtualMachine) []*typev1beta1.PolicyTargetReference {
	return []*typev1beta1.PolicyTargetReference{{Kind: ServiceKind.Kind, Name: mvm.ServiceName()}}
}

// attachToWaypoint lets the waypoint enforce a policy instead of the guest's ztunnel. The
// waypoint receives connections to the ports of the Service, and the policy contains the
// ports on which the guest listens (Istio, pilot/pkg/networking/core,
// buildWaypointInternal).
func attachToWaypoint(mvm *v1alpha1.MeshedVirtualMachine, ap *securityv1.AuthorizationPolicy) {
	ap.Spec.Selector, ap.Spec.TargetRefs = nil, serviceTarget(mvm)
	for _, r := range ap.Spec.Rules {
		for _, to := range r.GetTo() {
			if o := to.GetOperation(); o != nil {
				o.Ports, o.NotPorts = servicePorts(mvm, o.Ports), servicePorts(mvm, o.NotPorts)
			}
		}
		for _, c := range r.GetWhen() {
			if c.GetKey() == "destination.port" {
				c.Values, c.NotValues = servicePorts(mvm, c.Values), servicePorts(mvm, c.NotValues)
			}
		}
	}
}

// servicePorts returns the ports of the Service that lead to the ports on which the guest
// listens.
func servicePorts(mvm *v1alpha1.MeshedVirtualMachine, targets []string) []string {
	var out []string
	for _, p := range mvm.Spec.Ports {
		if p.IsMeshed() && slices.Contains(targets, strconv.Itoa(int(p.TargetPortOrDefault()))) {
			out = append(out, strconv.Itoa(int(p.Port)))
		}
	}
	return out
}

// onlyWaypointPart is the part of the name of the policy that permits only the waypoint.
// The name of an entry of mesh.authorization contains no dot.
const onlyWaypointPart = "waypoint.only"

// onlyWaypoint lets the guest's ztunnel permit only the waypoint, so that no client can
// avoid its policies. Istio gives the service account of a waypoint the name of its
// Gateway.
func onlyWaypoint(mvm *v1alpha1.MeshedVirtualMachine) *securityv1.AuthorizationPolicy {
	ap := authorizationPolicy(mvm, partName(mvm, onlyWaypointPart), v1alpha1.AuthorizationActionAllow)
	ap.Spec.Rules = []*securityv1beta1.Rule{{From: []*securityv1beta1.Rule_From{{Source: &securityv1beta1.Source{
		ServiceAccounts: []string{mvm.WaypointNamespace() + "/" + mvm.Spec.Mesh.Waypoint.Name},
	}}}}}
	return ap
}
