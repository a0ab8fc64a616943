// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"fmt"
	"slices"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/meshpolicy"
)

// gatherOthers reads the objects of optional kinds of the namespace that can override what
// the spec declares. The operator omits kinds that it cannot read.
func (r *Reconciler) gatherOthers(ctx context.Context, s *scope) error {
	workloads, mesh := s.workloads(), s.mvm.Spec.Mesh
	var err error
	if mesh.Telemetry.IsSet() && s.unavailable[children.TelemetryKind.GroupKind()] == nil {
		if s.telemetries, err = listAs[telemetryv1.Telemetry](ctx, r.Client, children.TelemetryKind, cacheindex.Selector, workloads, s.mvm.Namespace); err != nil {
			return err
		}
	}
	if mesh.Egress.IsSet() && s.unavailable[children.SidecarKind.GroupKind()] == nil {
		if s.sidecars, err = listAs[networkingv1.Sidecar](ctx, r.Client, children.SidecarKind, cacheindex.Selector, workloads, s.mvm.Namespace); err != nil {
			return err
		}
	}
	if s.unavailable[children.ServiceEntryKind.GroupKind()] == nil {
		s.entries, err = listAs[networkingv1.ServiceEntry](ctx, r.Client, children.ServiceEntryKind, cacheindex.Guest, []string{s.mvm.ServiceName()}, s.mvm.Namespace)
	}
	return err
}

// shadowedTelemetry returns a message if a newer Telemetry overrides what the spec
// declares for a pod.
func (s *scope) shadowedTelemetry() string {
	i := slices.IndexFunc(s.telemetries, func(t *telemetryv1.Telemetry) bool { return s.isChild(t) })
	if i < 0 || !s.mvm.Spec.Mesh.Telemetry.IsSet() {
		return ""
	}
	for j := range s.pods {
		if t, list := meshpolicy.TelemetryAfter(s.telemetries[i], s.telemetries, s.pods[j].Labels); t != nil {
			return fmt.Sprintf("Telemetry %s/%s selects pod %s and is newer than the operator's, so Istio applies its %s after spec.mesh.telemetry.%s: delete it, or change its selector so that it does not select the pod",
				t.Namespace, t.Name, s.pods[j].Name, list, list)
		}
	}
	return ""
}

// shadowedSidecar returns a message if Istio applies another Sidecar to a pod instead of the
// outbound limits of the spec.
func (s *scope) shadowedSidecar() string {
	i := slices.IndexFunc(s.sidecars, func(o *networkingv1.Sidecar) bool { return s.isChild(o) })
	if i < 0 || !s.mvm.Spec.Mesh.Egress.IsSet() {
		return ""
	}
	for j := range s.pods {
		if o := meshpolicy.SidecarBefore(s.sidecars[i], s.sidecars, s.pods[j].Labels); o != nil {
			return fmt.Sprintf("Sidecar %s/%s selects pod %s and is older than the operator's, so Istio applies it instead of spec.mesh.egress: delete it, or change its workloadSelector so that it does not select the pod",
				o.Namespace, o.Name, s.pods[j].Name)
		}
	}
	return ""
}

// otherEndpoints returns a message if a ServiceEntry adds endpoints to the Service.
func (s *scope) otherEndpoints() string {
	if s.child(children.ServiceKind) == nil {
		return ""
	}
	fqdn := s.mvm.ServiceFQDN(s.clusterDomain)
	if e := meshpolicy.EndpointsFor(s.mvm.Namespace, fqdn, s.entries); e != nil {
		return fmt.Sprintf("ServiceEntry %s/%s also has host %s, so Istio adds its endpoints to those of the Service, and they can receive requests of clients in the mesh: delete it, or remove the host from it",
			e.Namespace, e.Name, fqdn)
	}
	return ""
}

// entryChanged maps a ServiceEntry to the MeshedVirtualMachines whose Service has one of its
// hosts, and to the one whose child it can be.
func (r *Reconciler) entryChanged(ctx context.Context, o client.Object) []reconcile.Request {
	return append(r.sameName(ctx, o), r.hostsChanged(ctx, o)...)
}
