// SPDX-License-Identifier: Apache-2.0

package cel

import "testing"

const (
	waypointSidecar = "mesh.waypoint applies only to dataPlane Ambient, because a sidecar processes requests itself: remove waypoint, or set dataPlane to Ambient"
	waypointNone    = "mesh.waypoint.name must not be \"none\", which Istio reads as no waypoint: remove mesh.waypoint, or rename the Gateway"
)

func waypoint(changes map[string]any) map[string]any {
	return map[string]any{"spec.mesh.dataPlane": "Ambient", "spec.mesh.waypoint": changes}
}

// waypointCases are changes of meshedVirtualMachine in mesh.waypoint.
var waypointCases = map[string]testCase{
	"own namespace":         {set: waypoint(map[string]any{"name": "waypoint"})},
	"another namespace":     {set: waypoint(map[string]any{"name": "waypoint", "namespace": "mesh"})},
	"sidecar":               {set: map[string]any{"spec.mesh.waypoint.name": "waypoint"}, want: []string{waypointSidecar}},
	"explicit sidecar":      {set: map[string]any{"spec.mesh.dataPlane": "Sidecar", "spec.mesh.waypoint.name": "waypoint"}, want: []string{waypointSidecar}},
	"none":                  {set: waypoint(map[string]any{"name": "none"}), want: []string{waypointNone}},
	"no name":               {set: waypoint(map[string]any{"namespace": "mesh"}), want: []string{"spec.mesh.waypoint.name: Required value"}},
	"name with a namespace": {set: waypoint(map[string]any{"name": "mesh/waypoint"}), want: []string{"spec.mesh.waypoint.name", "should match"}},
	"invalid namespace":     {set: waypoint(map[string]any{"name": "waypoint", "namespace": "*"}), want: []string{"spec.mesh.waypoint.namespace", "should match"}},
	"a field of Istio":      {set: waypoint(map[string]any{"name": "waypoint", "class": "x"}), want: []string{`unknown field "spec.mesh.waypoint.class"`}},
}

func TestWaypoint(t *testing.T) { run(t, meshedVirtualMachine, waypointCases) }
