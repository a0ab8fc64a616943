// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"istio.io/api/label"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// waypoint rejects a waypoint that would not receive the connections to the guest: only
// ztunnel uses waypoints, and only for the address of a Service. The policies of a
// waypoint apply to a whole Service, so it cannot be shared.
func (e *Errors) waypoint(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	w := mvm.Spec.Mesh.Waypoint
	if !w.IsSet() {
		return
	}
	if !labelShape.MatchString(w.Name) || w.Name == "none" {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("name"), "invalid name %q: must be the name of a Gateway with the class istio-waypoint, and not \"none\"", w.Name)
	}
	if w.Namespace != "" && !labelShape.MatchString(w.Namespace) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path.Child("namespace"), "invalid namespace %q: must be the name of one namespace", w.Namespace)
	}
	switch {
	case !isAmbient(mvm):
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "applies only to dataPlane Ambient, because a sidecar processes requests itself: remove waypoint, or set mesh.dataPlane to Ambient")
	case len(mvm.Spec.Ports) == 0:
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "requires a Service, and a guest without ports has none: remove waypoint, or add a port")
	case mvm.Spec.IsHeadless():
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "does not support a headless Service, whose clients connect to the address of the pod: remove waypoint, or set another service.type")
	case mvm.ServiceName() != mvm.Name:
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "does not support a shared Service, because the policies of a waypoint apply to all machines of the Service: remove waypoint or service.name")
	}
	for _, key := range []string{label.IoIstioUseWaypoint.Name, label.IoIstioUseWaypointNamespace.Name, label.IoIstioIngressUseWaypoint.Name} {
		if _, ok := mvm.Spec.Service.Labels[key]; ok {
			e.Reject(v1alpha1.ReasonInvalidSpec, field.NewPath("spec", "service", "labels").Key(key), "the operator sets this label if mesh.waypoint is set: remove it")
		}
	}
}
