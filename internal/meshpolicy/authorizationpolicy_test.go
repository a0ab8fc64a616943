// SPDX-License-Identifier: Apache-2.0

package meshpolicy_test

import (
	"strings"
	"testing"

	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"

	"meshvm.io/meshvm/internal/meshpolicy"
)

const (
	allow  = securityv1beta1.AuthorizationPolicy_ALLOW
	deny   = securityv1beta1.AuthorizationPolicy_DENY
	audit  = securityv1beta1.AuthorizationPolicy_AUDIT
	custom = securityv1beta1.AuthorizationPolicy_CUSTOM
)

type (
	rule      = securityv1beta1.Rule
	operation = securityv1beta1.Operation
	source    = securityv1beta1.Source
)

// authorization returns a policy that selects the label "app", or all workloads when app is
// empty.
func authorization(namespace, name, app string, action securityv1beta1.AuthorizationPolicy_Action, rules ...*rule) *securityv1.AuthorizationPolicy {
	p := &securityv1.AuthorizationPolicy{ObjectMeta: metaOf(namespace, name, 1)}
	p.Spec.Action = action
	p.Spec.Rules = rules
	if app != "" {
		p.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": app}}
	}
	return p
}

func to(operations ...*operation) *rule {
	r := &rule{}
	for _, o := range operations {
		r.To = append(r.To, &securityv1beta1.Rule_To{Operation: o})
	}
	return r
}

func from(sources ...*source) *rule {
	r := &rule{}
	for _, s := range sources {
		r.From = append(r.From, &securityv1beta1.Rule_From{Source: s})
	}
	return r
}

func when(key string, values ...string) *rule {
	return &rule{When: []*securityv1beta1.Condition{{Key: key, Values: values}}}
}

// inDryRun sets Istio's annotation for policies without effect.
func inDryRun(p *securityv1.AuthorizationPolicy) *securityv1.AuthorizationPolicy {
	p.Annotations = map[string]string{"istio.io/dry-run": "true"}
	return p
}

func forTarget(p *securityv1.AuthorizationPolicy) *securityv1.AuthorizationPolicy {
	p.Spec.TargetRefs = []*typev1beta1.PolicyTargetReference{{Kind: "Service", Name: "web"}}
	return p
}

func TestClosedPort(t *testing.T) {
	ports, otherPorts := &operation{Ports: []string{"8080"}}, &operation{Ports: []string{"9090"}}
	get := &operation{Methods: []string{"GET"}}
	front := &source{Namespaces: []string{"front"}}
	jwt := &source{RequestPrincipals: []string{"*"}}
	type policies = []*securityv1.AuthorizationPolicy
	one := func(p ...*securityv1.AuthorizationPolicy) policies { return p }
	for name, tc := range map[string]struct {
		policies policies
		// closed are the names of the policies that close the port for HTTP, TCP and
		// ztunnel, with the prefix "root " if they are not of the pod's namespace.
		http, tcp, ztunnel string
	}{
		"none":                            {nil, "", "", ""},
		"DENY without rules":              {one(authorization("shop", "p", "", deny)), "", "", ""},
		"DENY everything":                 {one(authorization("shop", "p", "", deny, &rule{})), "p", "p", "p"},
		"DENY everything by the root":     {one(authorization("istio-system", "p", "", deny, &rule{})), "root p", "root p", "root p"},
		"DENY by the root and the own":    {one(authorization("shop", "a", "", deny, &rule{}), authorization("istio-system", "p", "", deny, &rule{})), "root p", "root p", "root p"},
		"DENY for the pod":                {one(authorization("shop", "p", "web", deny, &rule{})), "p", "p", "p"},
		"DENY for the pod, by the root":   {one(authorization("istio-system", "p", "web", deny, &rule{})), "root p", "root p", "root p"},
		"DENY for another pod":            {one(authorization("shop", "p", "db", deny, &rule{})), "", "", ""},
		"DENY for a waypoint":             {one(forTarget(authorization("shop", "p", "", deny, &rule{}))), "", "", ""},
		"DENY in dry run":                 {one(inDryRun(authorization("shop", "p", "", deny, &rule{}))), "", "", ""},
		"DENY the port":                   {one(authorization("shop", "p", "", deny, to(ports))), "p", "p", "p"},
		"DENY another port":               {one(authorization("shop", "p", "", deny, to(otherPorts))), "", "", ""},
		"DENY another port and the port":  {one(authorization("shop", "p", "", deny, to(otherPorts, ports))), "p", "p", "p"},
		"DENY all but the port":           {one(authorization("shop", "p", "", deny, to(&operation{NotPorts: []string{"8080"}}))), "", "", ""},
		"DENY all but another port":       {one(authorization("shop", "p", "", deny, to(&operation{NotPorts: []string{"9090"}}))), "p", "p", "p"},
		"DENY the port as a condition":    {one(authorization("shop", "p", "", deny, when("destination.port", "8080"))), "p", "p", "p"},
		"DENY another as a condition":     {one(authorization("shop", "p", "", deny, when("destination.port", "9090"))), "", "", ""},
		"DENY a source":                   {one(authorization("shop", "p", "", deny, from(front))), "", "", ""},
		"DENY a source and everyone":      {one(authorization("shop", "p", "", deny, from(front, &source{}))), "p", "p", "p"},
		"DENY a source as a condition":    {one(authorization("shop", "p", "", deny, when("source.ip", "10.0.0.1"))), "", "", ""},
		"DENY a method":                   {one(authorization("shop", "p", "", deny, to(get))), "", "p", ""},
		"DENY a method on the port":       {one(authorization("shop", "p", "", deny, to(&operation{Methods: []string{"GET"}, Ports: []string{"8080"}}))), "", "p", "p"},
		"DENY a method on other ports":    {one(authorization("shop", "p", "", deny, to(&operation{Methods: []string{"GET"}, NotPorts: []string{"9090"}}))), "", "p", "p"},
		"DENY a method on another port":   {one(authorization("shop", "p", "", deny, to(&operation{Methods: []string{"GET"}, Ports: []string{"9090"}}))), "", "", ""},
		"DENY a token on the port":        {one(authorization("shop", "p", "", deny, &rule{From: from(jwt).From, To: to(&operation{Ports: []string{"8080"}}).To})), "", "p", ""},
		"DENY a token":                    {one(authorization("shop", "p", "", deny, from(jwt))), "", "p", ""},
		"DENY a header":                   {one(authorization("shop", "p", "", deny, when("request.headers[a]", "b"))), "", "p", ""},
		"ALLOW nothing":                   {one(authorization("shop", "p", "", allow)), "p", "p", "p"},
		"ALLOW nothing by the root":       {one(authorization("istio-system", "p", "", allow)), "root p", "root p", "root p"},
		"ALLOW nothing in dry run":        {one(inDryRun(authorization("shop", "p", "", allow))), "", "", ""},
		"ALLOW nothing to another pod":    {one(authorization("shop", "p", "db", allow)), "", "", ""},
		"ALLOW nothing to a waypoint":     {one(forTarget(authorization("shop", "p", "", allow))), "", "", ""},
		"ALLOW everything":                {one(authorization("shop", "p", "", allow, &rule{})), "", "", ""},
		"ALLOW a source":                  {one(authorization("shop", "p", "", allow, from(front))), "", "", ""},
		"ALLOW the port":                  {one(authorization("shop", "p", "", allow, to(ports))), "", "", ""},
		"ALLOW another port":              {one(authorization("shop", "p", "", allow, to(otherPorts))), "p", "p", "p"},
		"ALLOW another as a condition":    {one(authorization("shop", "p", "", allow, when("destination.port", "9090"))), "p", "p", "p"},
		"ALLOW a method":                  {one(authorization("shop", "p", "", allow, to(get))), "", "p", "p"},
		"ALLOW a method or the port":      {one(authorization("shop", "p", "", allow, to(get, ports))), "", "p", "p"},
		"ALLOW a method, and the port":    {one(authorization("shop", "p", "", allow, to(get), to(ports))), "", "", ""},
		"ALLOW a token":                   {one(authorization("shop", "p", "", allow, from(jwt))), "", "p", "p"},
		"ALLOW a remote address":          {one(authorization("shop", "p", "", allow, from(&source{RemoteIpBlocks: []string{"10.0.0.0/8"}}))), "", "", "p"},
		"ALLOW by the root, nothing here": {one(authorization("istio-system", "a", "", allow, &rule{}), authorization("shop", "p", "", allow)), "", "", ""},
		"ALLOW nothing by the root, here": {one(authorization("istio-system", "a", "", allow), authorization("shop", "p", "web", allow, to(ports))), "", "", ""},
		"ALLOW another port here":         {one(authorization("istio-system", "a", "", allow), authorization("shop", "p", "web", allow, to(otherPorts))), "p", "p", "p"},
		"DENY wins over ALLOW":            {one(authorization("shop", "a", "", allow, &rule{}), authorization("shop", "p", "", deny, &rule{})), "p", "p", "p"},
		"AUDIT everything":                {one(authorization("shop", "p", "", audit, &rule{})), "", "", ""},
		"CUSTOM everything":               {one(authorization("shop", "p", "", custom, &rule{})), "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			for e, want := range map[meshpolicy.Enforcement]string{meshpolicy.SidecarHTTP: tc.http, meshpolicy.SidecarTCP: tc.tcp, meshpolicy.Ztunnel: tc.ztunnel} {
				got := ""
				if c := meshpolicy.ClosedPort(tc.policies, "shop", map[string]string{"app": "web"}, 8080, e); c != nil {
					var names []string
					for _, p := range c.Policies {
						names = append(names, p.Name)
					}
					got = strings.Join(names, ",")
					if !c.Own {
						got = "root " + got
					}
					if c.Deny != (c.Policies[0].Spec.Action == deny) {
						t.Errorf("deny is %t for %s", c.Deny, got)
					}
				}
				if got != want {
					t.Errorf("enforcement %d: closed by %q, want %q", e, got, want)
				}
			}
		})
	}
}

func TestPermitting(t *testing.T) {
	ports := &rule{To: []*securityv1beta1.Rule_To{{Operation: &securityv1beta1.Operation{Ports: []string{"22"}}}}}
	got := meshpolicy.Permitting([]*securityv1.AuthorizationPolicy{
		authorization("shop", "all", "web", allow, &rule{}), authorization("shop", "nothing", "web", allow), authorization("shop", "ssh", "", allow, ports),
		authorization("shop", "db", "db", allow, &rule{}), authorization("shop", "deny", "web", deny, &rule{}),
		inDryRun(authorization("shop", "dry", "", allow, &rule{})),
	}, map[string]string{"app": "web"}, 8080, meshpolicy.SidecarTCP)
	if len(got) != 1 || got[0].Name != "all" {
		t.Errorf("permitting are %v, want all", got)
	}
}

func TestUndecided(t *testing.T) {
	got := meshpolicy.Undecided([]*securityv1.AuthorizationPolicy{
		authorization("shop", "external", "web", custom, &rule{}), authorization("shop", "db", "db", custom, &rule{}),
		authorization("shop", "allow", "", allow), inDryRun(authorization("shop", "dry", "", custom, &rule{})),
	}, map[string]string{"app": "web"})
	if len(got) != 1 || got[0].Name != "external" {
		t.Errorf("undecided are %v, want external", got)
	}
}
