// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"slices"
	"testing"
)

const telemetrySidecar = "mesh.telemetry applies only to dataPlane Sidecar, because ztunnel does not read Telemetry objects: remove telemetry, or set dataPlane to Sidecar"

// telemetryCases are changes of meshedVirtualMachine in spec.mesh.telemetry.
var telemetryCases = map[string]testCase{
	"an access log":                   {set: telemetry("accessLogging", map[string]any{"providers": []any{map[string]any{"name": "envoy"}}, "filter": map[string]any{"expression": "true"}, "disabled": false})},
	"an access log of the namespace":  {set: telemetry("accessLogging", map[string]any{"match": map[string]any{"mode": "SERVER"}})},
	"an access log with a typo":       {set: telemetry("accessLogging", map[string]any{"provider": "envoy"}), want: []string{`unknown field "spec.mesh.telemetry.accessLogging[0].provider"`}},
	"an access log without providers": {set: telemetry("accessLogging", map[string]any{"providers": []any{}}), want: []string{"spec.mesh.telemetry.accessLogging[0].providers", "at least 1 items"}},
	"an access log of a mode":         {set: telemetry("accessLogging", map[string]any{"match": map[string]any{"mode": "INBOUND"}}), want: []string{"spec.mesh.telemetry.accessLogging[0].match.mode: Unsupported value"}},
	"17 access logs":                  {set: telemetry("accessLogging", slices.Repeat([]any{map[string]any{}}, 17)...), want: []string{"spec.mesh.telemetry.accessLogging: Too many"}},
	"traces": {set: telemetry("tracing", map[string]any{
		"randomSamplingPercentage": 2.5, "customTags": map[string]any{"team": map[string]any{"literal": map[string]any{"value": "shop"}}},
	})},
	"traces twice":                  {set: telemetry("tracing", map[string]any{}, map[string]any{}), want: []string{"spec.mesh.telemetry.tracing: Too many"}},
	"traces above 100 percent":      {set: telemetry("tracing", map[string]any{"randomSamplingPercentage": int64(101)}), want: []string{"spec.mesh.telemetry.tracing[0].randomSamplingPercentage", "less than or equal to 100"}},
	"metrics":                       {set: telemetry("metrics", map[string]any{"overrides": []any{map[string]any{"match": map[string]any{"metric": "REQUEST_COUNT"}, "disabled": true}}, "reportingInterval": "5s"})},
	"metrics that Istio lacks":      {set: telemetry("metrics", map[string]any{"overrides": []any{map[string]any{"match": map[string]any{"metric": "REQUESTS"}}}}), want: []string{"overrides[0].match.metric: Unsupported value"}},
	"telemetry with a selector":     {set: map[string]any{"spec.mesh.telemetry": map[string]any{"selector": map[string]any{}, "accessLogging": []any{map[string]any{}}}}, want: []string{`unknown field "spec.mesh.telemetry.selector"`}},
	"telemetry without a list":      {set: map[string]any{"spec.mesh.telemetry": map[string]any{}}},
	"telemetry with an empty list":  {set: telemetry("metrics"), want: []string{"spec.mesh.telemetry.metrics", "at least 1 items"}},
	"telemetry of an ambient guest": {set: map[string]any{"spec.mesh": map[string]any{"dataPlane": "Ambient", "telemetry": map[string]any{"accessLogging": []any{map[string]any{}}}}}, want: []string{telemetrySidecar}},
}

// telemetry is a list of mesh.telemetry.
func telemetry(list string, entries ...any) map[string]any {
	return map[string]any{"spec.mesh.telemetry": map[string]any{list: append([]any{}, entries...)}}
}

func TestTelemetry(t *testing.T) { run(t, meshedVirtualMachine, telemetryCases) }
