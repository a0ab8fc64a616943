// SPDX-License-Identifier: Apache-2.0

package cel

import "testing"

const (
	oneClient   = "an entry of mesh.allow identifies its clients by one field: set either serviceAccount or namespace, and add an entry for the other"
	allowedPort = "mesh.allow[].ports contains a name that is not the name of a TCP port via Mesh in spec.ports: the proxy sees no other connections; correct the name, or set via of the port to Mesh"
)

// clients are entries of mesh.allow.
func clients(entries ...any) []any { return entries }

// policyCases are changes of meshedVirtualMachine in the policies of spec.mesh.
var policyCases = map[string]testCase{
	"clients of a service account": {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"serviceAccount": "frontend/web", "ports": []any{"http"}})}},
	"clients of a namespace":       {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"namespace": "frontend"}, map[string]any{"serviceAccount": "web.v1"})}},
	"clients of nothing":           {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"ports": []any{"http"}})}, want: []string{oneClient}},
	"clients of both": {
		set:  map[string]any{"spec.mesh.allow": clients(map[string]any{"serviceAccount": "web", "namespace": "frontend"})},
		want: []string{oneClient},
	},
	"clients of any service account":   {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"serviceAccount": "frontend/*"})}, want: []string{"spec.mesh.allow[0].serviceAccount", "should match"}},
	"clients of a trust domain":        {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"serviceAccount": "td/frontend/web"})}, want: []string{"spec.mesh.allow[0].serviceAccount", "should match"}},
	"clients of any namespace":         {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"namespace": "*"})}, want: []string{"spec.mesh.allow[0].namespace", "should match"}},
	"clients of a misspelled field":    {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"serviceaccount": "web"})}, want: []string{`unknown field "spec.mesh.allow[0].serviceaccount"`}},
	"no clients":                       {set: map[string]any{"spec.mesh.allow": []any{}}, want: []string{"spec.mesh.allow", "at least 1 items"}},
	"clients of no port":               {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"namespace": "frontend", "ports": []any{}})}, want: []string{"spec.mesh.allow[0].ports", "at least 1 items"}},
	"clients of an unknown port":       {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"namespace": "frontend", "ports": []any{"https"}})}, want: []string{allowedPort}},
	"clients of the number of a port":  {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"namespace": "frontend", "ports": []any{"8080"}})}, want: []string{allowedPort}},
	"clients of a Direct port":         {set: map[string]any{"spec.mesh.allow": clients(map[string]any{"namespace": "frontend", "ports": []any{"ssh"}})}, want: []string{allowedPort}},
	"clients of a UDP port":            {set: map[string]any{"spec.ports.0.protocol": "UDP", "spec.ports.0.appProtocol": removed, "spec.mesh.allow": clients(map[string]any{"namespace": "frontend", "ports": []any{"http"}})}, want: []string{allowedPort}},
	"clients of a port without a list": {set: map[string]any{"spec.ports": removed, "spec.mesh.allow": clients(map[string]any{"namespace": "frontend", "ports": []any{"http"}})}, want: []string{allowedPort}},
}

func TestPolicies(t *testing.T) { run(t, meshedVirtualMachine, policyCases) }
