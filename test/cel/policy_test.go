// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"fmt"
	"slices"
	"testing"
)

const (
	oneClient   = "an entry of mesh.allow must set exactly one of serviceAccount and namespace: use a separate entry for each"
	authorizer  = "provider is required for the action Custom and must not be set for other actions: set provider, or remove it"
	keysByHTTPS = "mesh.authentication.jwtRules[].jwksUri must start with https://, because istiod fetches the keys of the tokens from it: use https, set jwks instead, or write jwksUri instead of jwks_uri"
	issuerIsSet = "mesh.authentication.jwtRules[].issuer is required, because without it tokens of every issuer with these keys are accepted: set the iss claim of the tokens"
	allowedPort = "mesh.allow[].ports must contain only names of TCP ports via Mesh in spec.ports, because the proxy does not receive other connections: correct the name, or set via of the port to Mesh"
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

	"a policy": {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"rules": []any{map[string]any{"to": []any{
		map[string]any{"operation": map[string]any{"methods": []any{"DELETE"}, "ports": []any{"8080"}}},
	}}}})}},
	"16 policies":                     {set: map[string]any{"spec.mesh.authorization": numberedPolicies(16)}},
	"17 policies":                     {set: map[string]any{"spec.mesh.authorization": numberedPolicies(17)}, want: []string{"spec.mesh.authorization: Too many"}},
	"no policies":                     {set: map[string]any{"spec.mesh.authorization": []any{}}, want: []string{"spec.mesh.authorization", "at least 1 items"}},
	"two policies of a name":          {set: map[string]any{"spec.mesh.authorization": append(policies(map[string]any{}), policies(map[string]any{})...)}, want: []string{"Duplicate value"}},
	"a policy without rules":          {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"rules": removed})}, want: []string{"spec.mesh.authorization[0].rules: Required value"}},
	"a policy with empty rules":       {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"rules": []any{}})}, want: []string{"spec.mesh.authorization[0].rules", "at least 1 items"}},
	"a policy with 33 rules":          {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"rules": slices.Repeat([]any{map[string]any{}}, 33)})}, want: []string{"spec.mesh.authorization[0].rules: Too many"}},
	"a policy without an action":      {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"action": removed})}, want: []string{"spec.mesh.authorization[0].action: Required value"}},
	"a policy with Istio's notation":  {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"action": "DENY"})}, want: []string{"spec.mesh.authorization[0].action: Unsupported value"}},
	"a policy with a dot":             {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"name": "a.b"})}, want: []string{"spec.mesh.authorization[0].name", "should match"}},
	"a policy with an authorizer":     {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"action": "Custom", "provider": "opa"})}},
	"a policy without its authorizer": {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"action": "Custom"})}, want: []string{authorizer}},
	"a policy with another's":         {set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"provider": "opa"})}, want: []string{authorizer}},
	"a policy with a typo": {
		set:  map[string]any{"spec.mesh.authorization": policies(map[string]any{"rules": []any{map[string]any{"form": []any{}}}})},
		want: []string{`unknown field "spec.mesh.authorization[0].rules[0].form"`},
	},
	"a policy with a selector": {
		set:  map[string]any{"spec.mesh.authorization": policies(map[string]any{"selector": map[string]any{}})},
		want: []string{`unknown field "spec.mesh.authorization[0].selector"`},
	},
	"a policy with the rule of Istio": {
		set: map[string]any{"spec.mesh.authorization": policies(map[string]any{"rules": []any{map[string]any{"from": []any{
			map[string]any{"source": map[string]any{"serviceAccounts": []any{"web"}, "namespaces": []any{"shop"}}},
		}}}})},
		want: []string{"Cannot set serviceAccounts with namespaces or principals"},
	},

	"tokens":                        {set: tokens(nil, map[string]any{"jwksUri": "https://example.com/keys", "audiences": []any{"web"}, "timeout": "2s"}, map[string]any{"jwks": "{}"})},
	"tokens, optional":              {set: tokens("Optional", map[string]any{})},
	"tokens in another mode":        {set: tokens("Strict", map[string]any{}), want: []string{"spec.mesh.authentication.mode: Unsupported value"}},
	"tokens without rules":          {set: map[string]any{"spec.mesh.authentication": map[string]any{"mode": "Optional"}}, want: []string{"spec.mesh.authentication.jwtRules: Required value"}},
	"tokens with empty rules":       {set: tokens(nil), want: []string{"spec.mesh.authentication.jwtRules", "at least 1 items"}},
	"tokens with 16 rules":          {set: tokens(nil, slices.Repeat([]map[string]any{{}}, 16)...)},
	"tokens with 17 rules":          {set: tokens(nil, slices.Repeat([]map[string]any{{}}, 17)...), want: []string{"spec.mesh.authentication.jwtRules: Too many"}},
	"tokens of any issuer":          {set: tokens(nil, map[string]any{"issuer": removed, "jwks": "{}"}), want: []string{issuerIsSet}},
	"tokens with keys over HTTP":    {set: tokens(nil, map[string]any{"jwksUri": "http://example.com/keys"}), want: []string{keysByHTTPS}},
	"tokens with keys in a file":    {set: tokens(nil, map[string]any{"jwksUri": "file:///etc/passwd"}), want: []string{keysByHTTPS}},
	"tokens with Istio's old field": {set: tokens(nil, map[string]any{"jwks_uri": "https://example.com/keys"}), want: []string{keysByHTTPS}},
	"tokens with both keys":         {set: tokens(nil, map[string]any{"jwksUri": "https://example.com/keys", "jwks": "{}"}), want: []string{"only one of jwks or jwksUri can be set"}},
	"tokens with a typo":            {set: tokens(nil, map[string]any{"audience": "web"}), want: []string{`unknown field "spec.mesh.authentication.jwtRules[0].audience"`}},
	"tokens with a selector": {
		set:  map[string]any{"spec.mesh.authentication": map[string]any{"selector": map[string]any{}, "jwtRules": []any{map[string]any{"issuer": "https://example.com"}}}},
		want: []string{`unknown field "spec.mesh.authentication.selector"`},
	},
}

// tokens is mesh.authentication with a mode, or nil, and with rules that have changes.
func tokens(mode any, changes ...map[string]any) map[string]any {
	rules := []any{}
	for _, c := range changes {
		r := map[string]any{"issuer": "https://example.com"}
		for field, value := range c {
			if r[field] = value; value == removed {
				delete(r, field)
			}
		}
		rules = append(rules, r)
	}
	a := map[string]any{"jwtRules": rules}
	if mode != nil {
		a["mode"] = mode
	}
	return map[string]any{"spec.mesh.authentication": a}
}

// policies is one entry of mesh.authorization with changes.
func policies(changes map[string]any) []any {
	p := map[string]any{"name": "p", "action": "Deny", "rules": []any{map[string]any{}}}
	for field, value := range changes {
		if p[field] = value; value == removed {
			delete(p, field)
		}
	}
	return []any{p}
}

func numberedPolicies(n int) []any {
	var out []any
	for i := range n {
		out = append(out, policies(map[string]any{"name": fmt.Sprintf("p-%d", i)})...)
	}
	return out
}

func TestPolicies(t *testing.T) { run(t, meshedVirtualMachine, policyCases) }
