// SPDX-License-Identifier: Apache-2.0

package v1alpha1

// Reasons of the condition MeshPolicyEffective.
const (
	// ReasonEffective: none of the Istio objects that the condition evaluates
	// overrides what is declared.
	ReasonEffective ConditionReason = "Effective"
	// ReasonShadowed: another policy has precedence over the declared one, or
	// another client changed the operator's. The message names it.
	ReasonShadowed ConditionReason = "Shadowed"
	// ReasonSubsetMissing: a route of the spec leads to a subset that no live pod of
	// the Service belongs to, so its requests fail. The message names both.
	ReasonSubsetMissing ConditionReason = "SubsetMissing"
	// ReasonWaypointNotReady: Istio has not bound the Service to the waypoint of the
	// spec, for example because the Gateway does not exist, is not ready or does not
	// allow the namespace. The message contains Istio's. If the spec restricts
	// clients, all connections are denied until then.
	ReasonWaypointNotReady ConditionReason = "WaypointNotReady"
	// ReasonGatewayNotFound: a Gateway that mesh.routes.gateways names does not exist. The
	// message names it.
	ReasonGatewayNotFound ConditionReason = "GatewayNotFound"
	// ReasonGatewayRefusesHost: no server of a Gateway that mesh.routes.gateways names
	// permits a host of mesh.routes.hosts for the namespace, or none has a protocol of the
	// routes. The message names both.
	ReasonGatewayRefusesHost ConditionReason = "GatewayRefusesHost"
	// ReasonPortsDenied: AuthorizationPolicies deny every connection to a port that
	// the mesh carries, and the operator did not create all of them. The message
	// names them.
	ReasonPortsDenied ConditionReason = "PortsDenied"
)
