// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import networkingv1 "istio.io/api/networking/v1alpha3"

// RoutesSpec contains routes to the guest, which precede the default route of each
// port, and hosts for which Istio gateways route requests to the guest.
//
// +kubebuilder:validation:MinProperties=0
// +kubebuilder:validation:XValidation:rule="has(self.hosts) == has(self.gateways)",message="mesh.routes.hosts and mesh.routes.gateways require each other: set both, or remove both; the name of the Service is always a host for clients in the mesh"
// +kubebuilder:validation:XValidation:rule="!has(self.http) || self.http.all(r, !has(r.delegate))",message="mesh.routes.http[].delegate is not supported, because the routes of another VirtualService are not validated: specify its routes in mesh.routes.http"
type RoutesSpec struct {
	// hosts are DNS names for which the gateways route requests to the guest, for
	// example "shop.example.com" or "*.shop.example.com". They must not be names of
	// Services or of the domain of the cluster.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=32
	// +kubebuilder:validation:items:MinLength=3
	// +kubebuilder:validation:items:MaxLength=253
	// +kubebuilder:validation:items:Pattern=`^(\*\.)?[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)+$`
	Hosts []string `json:"hosts,omitempty"`

	// gateways are the Istio Gateways that route requests for hosts to the guest, as
	// NAMESPACE/NAME, or as NAME for one in the namespace of the guest. Which
	// namespaces are permitted depends on tenancy.gateways of the
	// OperatorConfiguration, which by default permits only the namespace of the
	// guest. A gateway routes HTTP requests to the first HTTP port via Mesh, and TLS
	// connections that it passes through to the first TLS port via Mesh.
	//
	// +optional
	// +listType=set
	// +kubebuilder:validation:MinItems=1
	// +kubebuilder:validation:MaxItems=16
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=127
	// +kubebuilder:validation:items:Pattern=`^([a-z0-9-]+/)?[a-z0-9-]+$`
	// +kubebuilder:validation:XValidation:rule="self.all(g, g != 'mesh')",message="mesh.routes.gateways must not contain \"mesh\", because a client in the mesh uses the name of the Service: list only Gateways"
	Gateways []string `json:"gateways,omitempty"`

	// http are Istio's HTTP routes, with at most 32 entries. They apply to the HTTP
	// ports via Mesh, before the default route of each port. A route without route,
	// redirect and directResponse leads to the default destination, and a destination
	// without a host is the Service of the guest. Other hosts must be Services of
	// this namespace. A match without a port applies to all HTTP ports, and ports are
	// those of the Service. The entries gateways of a match must be entries of
	// gateways or "mesh". timeout and retries of spec.ports apply only to the default
	// routes. delegate is not supported.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	HTTP HTTPRoutes `json:"http,omitempty"`

	// tls are Istio's routes of TLS connections by server name, with at most 32
	// entries. They apply to the TLS ports via Mesh, for which no other routes exist.
	// sniHosts must contain the fully qualified name of the Service, for clients in
	// the mesh, or entries of hosts. Proxies of clients close connections with other
	// server names to a port that has a route.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	TLS TLSRoutes `json:"tls,omitempty"`

	// tcp are Istio's routes of connections to the other TCP ports via Mesh, with at
	// most 32 entries. They precede the default route of each port. Gateways do not
	// use them.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	TCP TCPRoutes `json:"tcp,omitempty"`
}

// HTTPRoutes are HTTP routes of an Istio VirtualService.
//
// +kubebuilder:object:generate=false
type HTTPRoutes []*networkingv1.HTTPRoute

// TLSRoutes are TLS routes of an Istio VirtualService.
//
// +kubebuilder:object:generate=false
type TLSRoutes []*networkingv1.TLSRoute

// TCPRoutes are TCP routes of an Istio VirtualService.
//
// +kubebuilder:object:generate=false
type TCPRoutes []*networkingv1.TCPRoute

// DeepCopyInto copies the routes. controller-gen cannot copy a list of pointers to
// messages.
func (in *HTTPRoutes) DeepCopyInto(out *HTTPRoutes) { *out = in.DeepCopy() }

// DeepCopy returns a copy of the routes.
func (in *HTTPRoutes) DeepCopy() HTTPRoutes { return copies(*in) }

// DeepCopyInto copies the routes.
func (in *TLSRoutes) DeepCopyInto(out *TLSRoutes) { *out = in.DeepCopy() }

// DeepCopy returns a copy of the routes.
func (in *TLSRoutes) DeepCopy() TLSRoutes { return copies(*in) }

// DeepCopyInto copies the routes.
func (in *TCPRoutes) DeepCopyInto(out *TCPRoutes) { *out = in.DeepCopy() }

// DeepCopy returns a copy of the routes.
func (in *TCPRoutes) DeepCopy() TCPRoutes { return copies(*in) }

func copies[T interface{ DeepCopy() T }](in []T) []T {
	if in == nil {
		return nil
	}
	out := make([]T, len(in))
	for i, m := range in {
		out[i] = m.DeepCopy()
	}
	return out
}
