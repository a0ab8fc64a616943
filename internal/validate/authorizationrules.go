// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"slices"
	"strconv"

	"google.golang.org/protobuf/proto"
	securityv1beta1 "istio.io/api/security/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
)

// maxAuthorizationRules is the limit of rules in the CRD (hack/tools/crdgen).
const maxAuthorizationRules = 32

// authorization rejects policies that Istio rejects, that the data plane does not
// enforce as declared, or whose ports are not ports of the guest.
func (e *Errors) authorization(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	names := map[string]bool{}
	for i, a := range mvm.Spec.Mesh.Authorization {
		at := path.Index(i)
		if !labelShape.MatchString(a.Name) || names[a.Name] {
			e.Reject(v1alpha1.ReasonInvalidSpec, at.Child("name"), "invalid name %q: must be a DNS label that no other entry has", a.Name)
		}
		names[a.Name] = true
		if (a.Action == v1alpha1.AuthorizationActionCustom) != (a.Provider != "") {
			e.Reject(v1alpha1.ReasonInvalidSpec, at.Child("provider"), "is required for the action Custom and must not be set for other actions: set it, or remove it")
		}
		switch a.Action {
		case v1alpha1.AuthorizationActionAllow, v1alpha1.AuthorizationActionDeny:
		case v1alpha1.AuthorizationActionAudit, v1alpha1.AuthorizationActionCustom:
			if ztunnelAlone(mvm) {
				e.Reject(v1alpha1.ReasonWaypointRequired, at.Child("action"), "ztunnel does not support action %s: use Allow or Deny, set mesh.waypoint, or set mesh.dataPlane to Sidecar", a.Action)
			}
		default:
			e.Reject(v1alpha1.ReasonInvalidSpec, at.Child("action"), "invalid action %q: must be Allow, Deny, Audit or Custom", a.Action)
		}
		if n := len(a.Rules); n == 0 || n > maxAuthorizationRules {
			e.Reject(v1alpha1.ReasonInvalidSpec, at.Child("rules"), "must have 1 to %d entries: use the rule {} to match every request", maxAuthorizationRules)
		}
		for j, r := range a.Rules {
			e.authorizationRule(mvm, a.Action, r, at.Child("rules").Index(j))
		}
	}
}

func (e *Errors) authorizationRule(mvm *v1alpha1.MeshedVirtualMachine, action v1alpha1.AuthorizationAction, r *securityv1beta1.Rule, path *field.Path) {
	if r == nil {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "must not be null: use {} to match every request")
		return
	}
	for i, f := range r.GetFrom() {
		if at := path.Child("from").Index(i).Child("source"); proto.Equal(f.GetSource(), &securityv1beta1.Source{}) || f.GetSource() == nil {
			e.Reject(v1alpha1.ReasonInvalidSpec, at, `must not be empty: add an attribute, or remove the field "from" to match every client`)
		} else if action == v1alpha1.AuthorizationActionCustom && identifiesClient(f.GetSource()) {
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "Istio does not support identities with action Custom: use ipBlocks, or let the external authorizer evaluate the identity")
		}
	}
	http := meshpolicy.UsesHTTP(r)
	if ztunnelAlone(mvm) && meshpolicy.UnsupportedByZtunnel(r) {
		e.Reject(v1alpha1.ReasonWaypointRequired, path, "has attributes that ztunnel does not evaluate, so the rule would not be enforced as specified: use only principals, namespaces, serviceAccounts, ipBlocks and ports, set mesh.waypoint, or set mesh.dataPlane to Sidecar")
		http = false
	}
	if action != v1alpha1.AuthorizationActionAllow && http && !slices.ContainsFunc(mvm.Spec.Ports, v1alpha1.Port.IsMeshedHTTP) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "has attributes of HTTP, and the guest has no HTTP port via Mesh, so that the rule would match every connection: remove the attributes, or set appProtocol of a port")
	}
	for i, t := range r.GetTo() {
		o, at := t.GetOperation(), path.Child("to").Index(i).Child("operation")
		if o == nil || proto.Equal(o, &securityv1beta1.Operation{}) {
			e.Reject(v1alpha1.ReasonInvalidSpec, at, `must not be empty: add an attribute, or remove the field "to" to match every operation`)
		}
		e.authorizedPorts(mvm, o.GetPorts(), http, at.Child("ports"))
		e.authorizedPorts(mvm, o.GetNotPorts(), false, at.Child("notPorts"))
	}
	for i, c := range r.GetWhen() {
		at := path.Child("when").Index(i)
		if c.GetKey() == "" || len(c.GetValues())+len(c.GetNotValues()) == 0 {
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "must have a key, and values or notValues: add them, or remove the condition")
		}
		if c.GetKey() == "destination.port" {
			e.authorizedPorts(mvm, c.GetValues(), http, at.Child("values"))
			e.authorizedPorts(mvm, c.GetNotValues(), false, at.Child("notValues"))
		}
	}
}

// authorizedPorts rejects values that are not the number of a port on which the guest
// listens and whose connections pass its proxy. With onlyHTTP, the port must be an HTTP
// port, because a proxy ignores attributes of HTTP on other ports.
func (e *Errors) authorizedPorts(mvm *v1alpha1.MeshedVirtualMachine, values []string, onlyHTTP bool, path *field.Path) {
	for i, v := range values {
		at := path.Index(i)
		find := func(is func(v1alpha1.Port) bool) (v1alpha1.Port, bool) {
			if j := slices.IndexFunc(mvm.Spec.Ports, is); j >= 0 {
				return mvm.Spec.Ports[j], true
			}
			return v1alpha1.Port{}, false
		}
		number := func(n int32) bool { return strconv.Itoa(int(n)) == v }
		meshed, ok := find(func(p v1alpha1.Port) bool { return p.IsMeshed() && number(p.TargetPortOrDefault()) })
		if ok {
			if onlyHTTP && !meshed.IsMeshedHTTP() {
				e.Reject(v1alpha1.ReasonInvalidPort, at, "the rule has attributes of HTTP, and the protocol of port %q is %s: remove the port from the rule, or set appProtocol of the port to an HTTP protocol", meshed.Name, meshed.AppProtocolOrDefault())
			}
			continue
		}
		if p, ok := find(func(p v1alpha1.Port) bool { return p.IsMeshed() && (number(p.Port) || p.Name == v) }); ok {
			e.Reject(v1alpha1.ReasonInvalidPort, at, "%q is not the targetPort of a port, which the proxy compares: use \"%d\", the targetPort of port %q", v, p.TargetPortOrDefault(), p.Name)
			continue
		}
		if p, ok := find(func(p v1alpha1.Port) bool { return number(p.TargetPortOrDefault()) || number(p.Port) || p.Name == v }); ok {
			e.Reject(v1alpha1.ReasonInvalidPort, at, "port %q bypasses the proxy, which cannot authorize its connections: remove the port from this list, or, for a TCP port, set via to Mesh", p.Name)
			continue
		}
		e.Reject(v1alpha1.ReasonInvalidPort, at, "%q is not the targetPort of a TCP port via Mesh in spec.ports: correct the number, or add the port", v)
	}
}

// identifiesClient reports whether a source has attributes that Istio does not support
// with action CUSTOM (Istio, pkg/config/validation, ValidateAuthorizationPolicy).
func identifiesClient(s *securityv1beta1.Source) bool {
	for _, values := range [][]string{
		s.GetPrincipals(), s.GetNotPrincipals(), s.GetNamespaces(), s.GetNotNamespaces(), s.GetServiceAccounts(), s.GetNotServiceAccounts(),
		s.GetRequestPrincipals(), s.GetNotRequestPrincipals(), s.GetTrustDomains(), s.GetNotTrustDomains(),
	} {
		if len(values) > 0 {
			return true
		}
	}
	return false
}
