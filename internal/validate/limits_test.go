// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

// TestLimits checks maxConnections and rateLimit of ports.
func TestLimits(t *testing.T) {
	const port = "InvalidPort spec.ports[0]"
	type (
		limit = v1alpha1.RateLimit
		rule  = v1alpha1.RateLimitRule
		match = v1alpha1.RateLimitMatch
	)
	guest := func() *b.MVMBuilder {
		return b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.TCP("db", 5432), b.Direct("ssh", 22), b.UDP("dns", 53), b.HTTP("alt", 81, 8080))
	}
	// shared sets a limit for both ports that lead to one port of the guest.
	shared := func(r limit) *b.MVMBuilder { return guest().RateLimit("http", r).RateLimit("alt", r) }
	second := limit{Requests: 10, Per: v1alpha1.RateLimitPeriodSecond}
	with := func(rules ...rule) limit {
		l := second
		l.Rules = rules
		return l
	}
	login := func(change func(*rule)) limit {
		r := rule{Name: "login", Match: match{PathPrefix: "/login"}, Requests: 1, Per: v1alpha1.RateLimitPeriodHour}
		change(&r)
		return with(r)
	}
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want []string
	}{
		"connections of TCP":              {guest().MaxConnections("db", 1), nil},
		"connections of both HTTP ports":  {guest().MaxConnections("http", 1).MaxConnections("alt", 1), nil},
		"connections of one HTTP port":    {guest().MaxConnections("http", 1), []string{"InvalidPort spec.ports[4].maxConnections"}},
		"other connections":               {guest().MaxConnections("http", 1).MaxConnections("alt", 2), []string{"InvalidPort spec.ports[4].maxConnections"}},
		"connections of a Direct port":    {guest().MaxConnections("ssh", 1), []string{"InvalidPort spec.ports[2].maxConnections"}},
		"connections of a UDP port":       {guest().MaxConnections("dns", 1), []string{"InvalidPort spec.ports[3].maxConnections"}},
		"connections in ambient mode":     {guest().MaxConnections("db", 1).DataPlane(v1alpha1.DataPlaneAmbient), []string{"InvalidPort spec.ports[1].maxConnections"}},
		"negative connections":            {guest().MaxConnections("db", -1), []string{"InvalidPort spec.ports[1].maxConnections"}},
		"too many connections":            {guest().MaxConnections("db", 1_000_001), []string{"InvalidPort spec.ports[1].maxConnections"}},
		"rate of TCP":                     {guest().RateLimit("db", second), nil},
		"rate of HTTP":                    {shared(second), nil},
		"rate of one HTTP port":           {guest().RateLimit("http", second), []string{"InvalidPort spec.ports[4].rateLimit"}},
		"rate of a Direct port":           {guest().RateLimit("ssh", second), []string{"InvalidPort spec.ports[2].rateLimit"}},
		"rate of a UDP port":              {guest().RateLimit("dns", second), []string{"InvalidPort spec.ports[3].rateLimit"}},
		"rate in ambient mode":            {guest().RateLimit("db", second).DataPlane(v1alpha1.DataPlaneAmbient), []string{"InvalidPort spec.ports[1].rateLimit"}},
		"rate without requests":           {guest().RateLimit("db", limit{Per: v1alpha1.RateLimitPeriodHour}), []string{"InvalidPort spec.ports[1].rateLimit.requests"}},
		"rate without a period":           {guest().RateLimit("db", limit{Requests: 1}), []string{"InvalidPort spec.ports[1].rateLimit.per"}},
		"rate per day":                    {guest().RateLimit("db", limit{Requests: 1, Per: "Day"}), []string{"InvalidPort spec.ports[1].rateLimit.per"}},
		"negative burst":                  {guest().RateLimit("db", limit{Requests: 1, Per: v1alpha1.RateLimitPeriodHour, Burst: -1}), []string{"InvalidPort spec.ports[1].rateLimit.burst"}},
		"burst below the requests":        {guest().RateLimit("db", limit{Requests: 10, Per: v1alpha1.RateLimitPeriodHour, Burst: 1}), nil},
		"rules of HTTP":                   {shared(login(func(*rule) {})), nil},
		"rules of TCP":                    {guest().RateLimit("db", login(func(*rule) {})), []string{"InvalidPort spec.ports[1].rateLimit.rules"}},
		"rules of the name of the port":   {b.MVM("web").Ports(b.TCP("http-web", 80)).RateLimit("http-web", login(func(*rule) {})), nil},
		"rules of a TLS port":             {b.MVM("web").Ports(b.TCP("https", 443)).RateLimit("https", login(func(*rule) {})), []string{port + ".rateLimit.rules"}},
		"rule without a name":             {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Name = "" })), []string{port + ".rateLimit.rules[0].name"}},
		"two rules of a name":             {b.MVM("web").RateLimit("http", with(login(func(*rule) {}).Rules[0], login(func(*rule) {}).Rules[0])), []string{port + ".rateLimit.rules[1].name"}},
		"rule of everything":              {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Match = match{} })), []string{port + ".rateLimit.rules[0].match"}},
		"rule without a rate":             {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Requests = 0 })), []string{port + ".rateLimit.rules[0].requests"}},
		"rule of a method":                {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Match = match{Methods: []v1alpha1.HTTPMethod{"GET"}} })), nil},
		"rule of an unknown method":       {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Match.Methods = []v1alpha1.HTTPMethod{"GET", "get"} })), []string{port + ".rateLimit.rules[0].match.methods[1]"}},
		"rule of a path without a slash":  {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Match.PathPrefix = "login" })), []string{port + ".rateLimit.rules[0].match.pathPrefix"}},
		"rule of a query":                 {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Match.PathPrefix = "/login?a=b" })), []string{port + ".rateLimit.rules[0].match.pathPrefix"}},
		"rule of a path with a line feed": {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Match.PathPrefix = "/login\n" })), []string{port + ".rateLimit.rules[0].match.pathPrefix"}},
		"rule of a path with characters of Envoy's configuration": {b.MVM("web").RateLimit("http", login(func(r *rule) { r.Match.PathPrefix = `/"},{"@type":"x` })), []string{port + ".rateLimit.rules[0].match.pathPrefix"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(tc.mvm.Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}
