// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// The patterns of api/v1alpha1/security_types.go.
var (
	serviceAccountShape = regexp.MustCompile(`^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?/)?[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)
	labelShape          = regexp.MustCompile(`^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`)
)

// rootNamespaceOf is the message about a field of a guest in Istio's root namespace.
const rootNamespaceOf = "%s is Istio's root namespace, whose policies also apply to machines with the same name in other namespaces: create the MeshedVirtualMachine in another namespace, or remove the field"

// rootNamespace rejects policies of a guest in Istio's root namespace, where their
// selectors apply to the pods of all namespaces (Istio, pilot/pkg/model,
// ListAuthorizationPolicies).
func (e *Errors) rootNamespace(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	if !cluster.isRoot(mvm.Namespace) {
		return
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"allow", len(mvm.Spec.Mesh.Allow) > 0}, {"authorization", len(mvm.Spec.Mesh.Authorization) > 0}, {"authentication", mvm.Spec.Mesh.Authentication.IsSet()}} {
		if f.set {
			e.Reject(v1alpha1.ReasonInvalidSpec, path.Child(f.name), rootNamespaceOf, mvm.Namespace)
		}
	}
}

// allow rejects entries that permit no client, or that name ports whose connections
// the guest's proxy does not see or cannot attribute to a client.
func (e *Errors) allow(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	for i, a := range mvm.Spec.Mesh.Allow {
		at := path.Index(i)
		switch {
		case (a.ServiceAccount == "") == (a.Namespace == ""):
			e.Reject(v1alpha1.ReasonInvalidSpec, at, "must set exactly one of serviceAccount and namespace: use a separate entry for each")
		case a.ServiceAccount != "" && !serviceAccountShape.MatchString(a.ServiceAccount):
			e.Reject(v1alpha1.ReasonInvalidSpec, at.Child("serviceAccount"), "invalid service account %q: must be NAMESPACE/NAME, or NAME for one in the namespace of the guest", a.ServiceAccount)
		case a.Namespace != "" && !labelShape.MatchString(a.Namespace):
			e.Reject(v1alpha1.ReasonInvalidSpec, at.Child("namespace"), "invalid namespace %q: must be the name of one namespace", a.Namespace)
		}
		e.allowedPorts(mvm, a.Ports, at.Child("ports"))
	}
}

func (e *Errors) allowedPorts(mvm *v1alpha1.MeshedVirtualMachine, names []string, path *field.Path) {
	const noIdentity = "the mutual TLS mode of port %q is Disable, so its clients have no identity and every connection would be denied: "
	if len(names) == 0 {
		for _, p := range mvm.Spec.Ports {
			if p.IsMeshed() && mvm.Spec.MTLSModeOf(p) == v1alpha1.MTLSModeDisable {
				e.Reject(v1alpha1.ReasonInvalidSpec, path, noIdentity+"list the other ports, or set its mtls to Strict or Permissive", p.Name)
			}
		}
	}
	for i, name := range names {
		at := path.Index(i)
		j := slices.IndexFunc(mvm.Spec.Ports, func(p v1alpha1.Port) bool { return p.Name == name })
		switch {
		case j < 0:
			e.Reject(v1alpha1.ReasonInvalidPort, at, "spec.ports contains no port %q: correct the name, or add the port", name)
		case !mvm.Spec.Ports[j].IsMeshed():
			e.Reject(v1alpha1.ReasonInvalidPort, at, "port %q bypasses the proxy, which cannot authorize its connections: remove the port from this list, or, for a TCP port, set via to Mesh", name)
		case mvm.Spec.MTLSModeOf(mvm.Spec.Ports[j]) == v1alpha1.MTLSModeDisable:
			e.Reject(v1alpha1.ReasonInvalidPort, at, noIdentity+"remove the port from this list, or set its mtls to Strict or Permissive", name)
		}
	}
}
