// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
)

// limited is a guest with each limit, on HTTP and TCP ports.
func limited() *b.MVMBuilder {
	const second, minute, hour = v1alpha1.RateLimitPeriodSecond, v1alpha1.RateLimitPeriodMinute, v1alpha1.RateLimitPeriodHour
	requests := v1alpha1.RateLimit{Requests: 100, Per: second, Burst: 200, Rules: []v1alpha1.RateLimitRule{
		{Name: "login", Match: v1alpha1.RateLimitMatch{PathPrefix: "/login", Methods: []v1alpha1.HTTPMethod{"POST", "PUT"}}, Requests: 5, Per: minute},
		{Name: "reports", Match: v1alpha1.RateLimitMatch{PathPrefix: "/reports/(a)*$'"}, Requests: 30, Per: hour, Burst: 3},
		{Name: "writes", Match: v1alpha1.RateLimitMatch{Methods: []v1alpha1.HTTPMethod{"DELETE"}}, Requests: 1, Per: second},
	}}
	return b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.HTTP("http-alt", 8081, 8080), b.TCP("db", 5432), b.TCP("cache", 6379), b.TCP("grpc", 9000)).
		PortMTLS("db", v1alpha1.MTLSModePermissive).PortMTLS("grpc", v1alpha1.MTLSModePermissive).
		MaxConnections("http", 500).MaxConnections("http-alt", 500).MaxConnections("db", 20).
		RateLimit("http", requests).RateLimit("http-alt", requests).
		RateLimit("db", v1alpha1.RateLimit{Requests: 10, Per: second}).
		RateLimit("grpc", v1alpha1.RateLimit{Requests: 1_000_000, Per: hour})
}
