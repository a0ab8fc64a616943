// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"regexp"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// maxLimit is the largest number of connections or requests in the CRD.
const maxLimit = 1_000_000

// The pattern and the values of api/v1alpha1/limit_types.go.
var (
	pathPrefixShape = regexp.MustCompile(`^/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*$`)
	httpMethods     = []v1alpha1.HTTPMethod{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
	periods         = []v1alpha1.RateLimitPeriod{v1alpha1.RateLimitPeriodSecond, v1alpha1.RateLimitPeriodMinute, v1alpha1.RateLimitPeriodHour}
)

// limits rejects limits of ports whose connections the guest's proxy does not receive
// or does not handle as HTTP, and different limits of one port of the guest.
func (e *Errors) limits(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	first := map[int32]v1alpha1.Port{}
	for i, p := range mvm.Spec.Ports {
		at := path.Index(i)
		e.portLimits(cluster, mvm, p, at)
		if !p.IsMeshed() {
			continue
		}
		other, ok := first[p.TargetPortOrDefault()]
		if !ok {
			first[p.TargetPortOrDefault()] = p
			continue
		}
		for _, f := range []struct {
			name  string
			equal bool
		}{{"maxConnections", other.MaxConnections == p.MaxConnections}, {"rateLimit", equality.Semantic.DeepEqual(other.RateLimit, p.RateLimit)}} {
			if !f.equal {
				e.Reject(v1alpha1.ReasonInvalidPort, at.Child(f.name), "port %q has the same port %d of the guest and another %s: set the same %s on both ports, because the proxy limits ports of the guest",
					other.Name, p.TargetPortOrDefault(), f.name, f.name)
			}
		}
	}
}

func (e *Errors) portLimits(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, p v1alpha1.Port, path *field.Path) {
	for _, f := range []struct {
		name string
		set  bool
	}{{"maxConnections", p.MaxConnections != 0}, {"rateLimit", p.RateLimit.IsSet()}} {
		switch at := path.Child(f.name); {
		case !f.set:
		case !p.IsMeshed():
			e.Reject(v1alpha1.ReasonInvalidPort, at, "applies only to TCP ports via Mesh, because the proxy does not receive other connections: omit %s, or, for a TCP port, set via to Mesh", f.name)
		case isAmbient(mvm):
			e.Reject(v1alpha1.ReasonInvalidPort, at, "ztunnel does not limit connections or requests: omit %s, or set mesh.dataPlane to Sidecar", f.name)
		case cluster.isRoot(mvm.Namespace):
			e.Reject(v1alpha1.ReasonInvalidPort, at, rootNamespaceOf, mvm.Namespace)
		}
	}
	if p.MaxConnections != 0 {
		e.limit(p.MaxConnections, path.Child("maxConnections"))
	}
	if p.RateLimit.IsSet() {
		e.rateLimit(p, path.Child("rateLimit"))
	}
}

func (e *Errors) rateLimit(p v1alpha1.Port, path *field.Path) {
	r := p.RateLimit
	e.rate(r.Requests, r.Burst, r.Per, path)
	if len(r.Rules) > 0 && p.IsMeshed() && !p.IsMeshedHTTP() {
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("rules"), "match HTTP requests, and the protocol of port %q is %s: set appProtocol to an HTTP protocol, or remove rules",
			p.Name, p.AppProtocolOrDefault())
	}
	names := map[string]bool{}
	for i, rule := range r.Rules {
		at := path.Child("rules").Index(i)
		if !labelShape.MatchString(rule.Name) || names[rule.Name] {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("name"), "invalid name %q: must be a DNS label that no other rule of the port has", rule.Name)
		}
		names[rule.Name] = true
		e.rate(rule.Requests, rule.Burst, rule.Per, at)
		if rule.Match.PathPrefix == "" && len(rule.Match.Methods) == 0 {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("match"), "must not be empty: set pathPrefix or methods, or use the limit of the port")
		}
		if v := rule.Match.PathPrefix; v != "" && !pathPrefixShape.MatchString(v) {
			e.Reject(v1alpha1.ReasonInvalidPort, at.Child("match", "pathPrefix"), "invalid path %q: must begin with / and contain only characters of a path, without a query", v)
		}
		for j, m := range rule.Match.Methods {
			if !slices.Contains(httpMethods, m) {
				e.Reject(v1alpha1.ReasonInvalidPort, at.Child("match", "methods").Index(j), "invalid method %q: must be a method of HTTP in capital letters, for example POST", m)
			}
		}
	}
}

func (e *Errors) rate(requests, burst int32, per v1alpha1.RateLimitPeriod, path *field.Path) {
	e.limit(requests, path.Child("requests"))
	if burst != 0 {
		e.limit(burst, path.Child("burst"))
	}
	if !slices.Contains(periods, per) {
		e.Reject(v1alpha1.ReasonInvalidPort, path.Child("per"), "invalid period %q: must be Second, Minute or Hour", per)
	}
}

func (e *Errors) limit(n int32, path *field.Path) {
	if n < 1 || n > maxLimit {
		e.Reject(v1alpha1.ReasonInvalidPort, path, "invalid value %d: must be from 1 to %d", n, maxLimit)
	}
}
