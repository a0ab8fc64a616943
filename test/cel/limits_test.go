// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"fmt"
	"strings"
	"testing"
)

const (
	limitedPort    = "maxConnections and rateLimit apply only to TCP ports via Mesh, because the proxy does not receive other connections: omit them, or, for a TCP port, set via to Mesh"
	limitedRequest = "rateLimit.rules match HTTP requests: remove rules, or set appProtocol to an HTTP protocol"
	limitedAmbient = "mesh.dataPlane Ambient does not support maxConnections and rateLimit of ports, because ztunnel does not limit connections or requests: remove them, or set mesh.dataPlane to Sidecar"
)

// rate is a limit of ten requests per minute with changes.
func rate(changes map[string]any) map[string]any {
	return changed(map[string]any{"requests": int64(10), "per": "Minute"}, changes)
}

// rules are a limit with a rule for /login with changes.
func rules(changes map[string]any) map[string]any {
	rule := map[string]any{"name": "login", "match": map[string]any{"pathPrefix": "/login"}, "requests": int64(1), "per": "Hour"}
	return rate(map[string]any{"rules": []any{changed(rule, changes)}})
}

func matching(match map[string]any) map[string]any { return rules(map[string]any{"match": match}) }

func changed(object, changes map[string]any) map[string]any {
	for field, value := range changes {
		if object[field] = value; value == removed {
			delete(object, field)
		}
	}
	return object
}

func numberedRules(n int) map[string]any {
	var all []any
	for i := range n {
		all = append(all, rules(map[string]any{"name": fmt.Sprintf("r-%d", i)})["rules"].([]any)...)
	}
	return rate(map[string]any{"rules": all})
}

// limitCases are changes of meshedVirtualMachine in the limits of ports.
var limitCases = map[string]testCase{
	"connections":                    {set: map[string]any{"spec.ports.0.maxConnections": int64(1)}},
	"a million connections":          {set: map[string]any{"spec.ports.0.maxConnections": int64(1_000_000)}},
	"no connections":                 {set: map[string]any{"spec.ports.0.maxConnections": int64(0)}, want: []string{"spec.ports[0].maxConnections", "greater than or equal to 1"}},
	"more connections":               {set: map[string]any{"spec.ports.0.maxConnections": int64(1_000_001)}, want: []string{"spec.ports[0].maxConnections", "less than or equal to 1000000"}},
	"connections of a Direct port":   {set: map[string]any{"spec.ports.1.maxConnections": int64(1)}, want: []string{limitedPort}},
	"connections of a UDP port":      {set: map[string]any{"spec.ports.2": udp(map[string]any{"maxConnections": int64(1)})}, want: []string{limitedPort}},
	"connections in ambient mode":    {set: map[string]any{"spec.mesh.dataPlane": "Ambient", "spec.ports.0.maxConnections": int64(1)}, want: []string{limitedAmbient}},
	"rate":                           {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"burst": int64(1)})}},
	"rate of a TCP port":             {set: map[string]any{"spec.ports.0.appProtocol": "tcp", "spec.ports.0.rateLimit": rate(nil)}},
	"rate of a Direct port":          {set: map[string]any{"spec.ports.1.rateLimit": rate(nil)}, want: []string{limitedPort}},
	"rate of a UDP port":             {set: map[string]any{"spec.ports.2": udp(map[string]any{"rateLimit": rate(nil)})}, want: []string{limitedPort}},
	"rate in ambient mode":           {set: map[string]any{"spec.mesh.dataPlane": "Ambient", "spec.ports.0.rateLimit": rate(nil)}, want: []string{limitedAmbient}},
	"rate without requests":          {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"requests": removed})}, want: []string{"spec.ports[0].rateLimit.requests: Required value"}},
	"rate of no requests":            {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"requests": int64(0)})}, want: []string{"spec.ports[0].rateLimit.requests", "greater than or equal to 1"}},
	"rate of more requests":          {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"requests": int64(1_000_001)})}, want: []string{"spec.ports[0].rateLimit.requests", "less than or equal to 1000000"}},
	"rate without a period":          {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"per": removed})}, want: []string{"spec.ports[0].rateLimit.per: Required value"}},
	"rate per day":                   {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"per": "Day"})}, want: []string{"spec.ports[0].rateLimit.per: Unsupported value"}},
	"rate without a burst":           {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"burst": int64(0)})}, want: []string{"spec.ports[0].rateLimit.burst", "greater than or equal to 1"}},
	"rate with a larger burst":       {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"burst": int64(1_000_001)})}, want: []string{"spec.ports[0].rateLimit.burst", "less than or equal to 1000000"}},
	"rate of Envoy":                  {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"typed_config": map[string]any{}})}, want: []string{`unknown field "spec.ports[0].rateLimit.typed_config"`}},
	"rules":                          {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"burst": int64(2)})}},
	"rules of a gRPC port":           {set: map[string]any{"spec.ports.0.appProtocol": "grpc", "spec.ports.0.rateLimit": rules(nil)}},
	"rules of the name of the port":  {set: map[string]any{"spec.ports.0.appProtocol": removed, "spec.ports.0.rateLimit": rules(nil)}},
	"rules of a TCP port":            {set: map[string]any{"spec.ports.0.appProtocol": "tcp", "spec.ports.0.rateLimit": rules(nil)}, want: []string{limitedRequest}},
	"rules of a TLS port":            {set: map[string]any{"spec.ports.0.appProtocol": "https", "spec.ports.0.rateLimit": rules(nil)}, want: []string{limitedRequest}},
	"16 rules":                       {set: map[string]any{"spec.ports.0.rateLimit": numberedRules(16)}},
	"17 rules":                       {set: map[string]any{"spec.ports.0.rateLimit": numberedRules(17)}, want: []string{"spec.ports[0].rateLimit.rules: Too many"}},
	"no rules":                       {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"rules": []any{}})}, want: []string{"spec.ports[0].rateLimit.rules", "at least 1 items"}},
	"two rules of a name":            {set: map[string]any{"spec.ports.0.rateLimit": rate(map[string]any{"rules": append(rules(nil)["rules"].([]any), rules(nil)["rules"].([]any)...)})}, want: []string{"Duplicate value"}},
	"rule without a name":            {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"name": removed})}, want: []string{"spec.ports[0].rateLimit.rules[0].name: Required value"}},
	"rule with an empty name":        {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"name": ""})}, want: []string{"spec.ports[0].rateLimit.rules[0].name", "at least 1 chars"}},
	"rule with a long name":          {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"name": strings.Repeat("a", 64)})}, want: []string{"spec.ports[0].rateLimit.rules[0].name: Too long"}},
	"rule with a quoted name":        {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"name": `a"`})}, want: []string{"spec.ports[0].rateLimit.rules[0].name", "should match"}},
	"rule without a match":           {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"match": removed})}, want: []string{"spec.ports[0].rateLimit.rules[0].match: Required value"}},
	"rule with an empty match":       {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{})}, want: []string{"spec.ports[0].rateLimit.rules[0].match", "at least 1 properties"}},
	"rule with a header":             {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"headers": []any{}})}, want: []string{`unknown field "spec.ports[0].rateLimit.rules[0].match.headers"`}},
	"rule without requests":          {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"requests": removed})}, want: []string{"spec.ports[0].rateLimit.rules[0].requests: Required value"}},
	"rule of no requests":            {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"requests": int64(0)})}, want: []string{"spec.ports[0].rateLimit.rules[0].requests", "greater than or equal to 1"}},
	"rule of more requests":          {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"requests": int64(1_000_001)})}, want: []string{"spec.ports[0].rateLimit.rules[0].requests", "less than or equal to 1000000"}},
	"rule without a period":          {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"per": removed})}, want: []string{"spec.ports[0].rateLimit.rules[0].per: Required value"}},
	"rule without a burst":           {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"burst": int64(0)})}, want: []string{"spec.ports[0].rateLimit.rules[0].burst", "greater than or equal to 1"}},
	"rule with a larger burst":       {set: map[string]any{"spec.ports.0.rateLimit": rules(map[string]any{"burst": int64(1_000_001)})}, want: []string{"spec.ports[0].rateLimit.rules[0].burst", "less than or equal to 1000000"}},
	"rule of a path":                 {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"pathPrefix": "/a%2Fb/(c)*;d=e,f"})}},
	"rule of a long path":            {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"pathPrefix": "/" + strings.Repeat("a", 256)})}, want: []string{"spec.ports[0].rateLimit.rules[0].match.pathPrefix: Too long"}},
	"rule of an empty path":          {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"pathPrefix": ""})}, want: []string{"spec.ports[0].rateLimit.rules[0].match.pathPrefix", "at least 1 chars"}},
	"rule of a relative path":        {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"pathPrefix": "login"})}, want: []string{"spec.ports[0].rateLimit.rules[0].match.pathPrefix", "should match"}},
	"rule of a query":                {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"pathPrefix": "/login?a"})}, want: []string{"spec.ports[0].rateLimit.rules[0].match.pathPrefix", "should match"}},
	"rule of Envoy's configuration":  {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"pathPrefix": `/"},{"@type":"x`})}, want: []string{"spec.ports[0].rateLimit.rules[0].match.pathPrefix", "should match"}},
	"rule of methods":                {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"methods": []any{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}})}},
	"rule of no methods":             {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"methods": []any{}})}, want: []string{"spec.ports[0].rateLimit.rules[0].match.methods", "at least 1 items"}},
	"rule of ten methods":            {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"methods": []any{"GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET", "GET"}})}, want: []string{"spec.ports[0].rateLimit.rules[0].match.methods: Too many"}},
	"rule of one method twice":       {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"methods": []any{"GET", "GET"}})}, want: []string{"Duplicate value"}},
	"rule of a method in lower case": {set: map[string]any{"spec.ports.0.rateLimit": matching(map[string]any{"methods": []any{"get"}})}, want: []string{"spec.ports[0].rateLimit.rules[0].match.methods[0]: Unsupported value"}},
}

func TestLimits(t *testing.T) { run(t, meshedVirtualMachine, limitCases) }
