// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"slices"
	"strconv"
	"strings"

	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
)

// Enforcement is the way in which AuthorizationPolicies are enforced on a port.
type Enforcement int

const (
	// SidecarHTTP is the enforcement of a sidecar on HTTP requests.
	SidecarHTTP Enforcement = iota
	// SidecarTCP is the enforcement of a sidecar on connections. Of a DENY rule, it
	// ignores the attributes of HTTP. It skips an ALLOW rule that has such attributes.
	SidecarTCP
	// Ztunnel is the enforcement of ztunnel on connections. It skips ALLOW rules with
	// attributes of HTTP. Of an entry of a DENY rule, it ignores these attributes, and an
	// entry without other attributes never matches. It does not enforce CUSTOM.
	Ztunnel
)

// Closed names the policies that close a port for every client.
type Closed struct {
	// Deny is set when Policies contains one policy that denies everything.
	// Otherwise, Policies are the policies with action ALLOW that apply to the pod,
	// and none of their rules can match the port.
	Deny     bool
	Policies []*securityv1.AuthorizationPolicy
	// Own is set when the policies of the pod's own namespace alone close the port,
	// and no policy of the root namespace does.
	Own bool
}

// dryRun is Istio's annotation for policies that are evaluated without effect.
const dryRun = "istio.io/dry-run"

// ClosedPort returns the policies that close a port for every client, or nil if
// a client may be able to connect. The port is the number on which the guest
// listens. The policies are those of the pod's namespace and of the root
// namespace. It follows Istio (pilot/pkg/model, ListAuthorizationPolicies, and
// pilot/pkg/security/authz; for ztunnel pilot/pkg/serviceregistry/ambient).
func ClosedPort(policies []*securityv1.AuthorizationPolicy, namespace string, labels map[string]string, port int32, e Enforcement) *Closed {
	var allow, own []*securityv1.AuthorizationPolicy
	var deny *securityv1.AuthorizationPolicy
	allowed := false
	for _, p := range byAge(policies) {
		if !enforced(p, labels) {
			continue
		}
		isOwn := p.Namespace == namespace
		switch p.Spec.GetAction() {
		case securityv1beta1.AuthorizationPolicy_DENY:
			if !deniesAll(p, port, e) {
				continue
			}
			// A policy of the root namespace has precedence in the report.
			if deny == nil || deny.Namespace == namespace && !isOwn {
				deny = p
			}
		case securityv1beta1.AuthorizationPolicy_ALLOW:
			allow = append(allow, p)
			allowed = allowed || mayAllow(p, port, e)
			if isOwn {
				own = append(own, p)
			}
		case securityv1beta1.AuthorizationPolicy_AUDIT, securityv1beta1.AuthorizationPolicy_CUSTOM:
		}
	}
	switch {
	case deny != nil:
		return &Closed{Deny: true, Policies: []*securityv1.AuthorizationPolicy{deny}, Own: deny.Namespace == namespace}
	case len(allow) == 0 || allowed:
		return nil
	case len(own) > 0:
		return &Closed{Policies: own, Own: true}
	default:
		return &Closed{Policies: allow}
	}
}

// Permitting returns the policies with action ALLOW that apply to the pod and that can
// permit connections to a port.
func Permitting(policies []*securityv1.AuthorizationPolicy, labels map[string]string, port int32, e Enforcement) []*securityv1.AuthorizationPolicy {
	return slices.DeleteFunc(byAge(policies), func(p *securityv1.AuthorizationPolicy) bool {
		return p.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_ALLOW || !enforced(p, labels) || !mayAllow(p, port, e)
	})
}

// Undecided returns the policies with action CUSTOM that a sidecar enforces for
// the pod. An external authorizer decides about their requests.
func Undecided(policies []*securityv1.AuthorizationPolicy, labels map[string]string) []*securityv1.AuthorizationPolicy {
	return slices.DeleteFunc(byAge(policies), func(p *securityv1.AuthorizationPolicy) bool {
		return p.Spec.GetAction() != securityv1beta1.AuthorizationPolicy_CUSTOM || !enforced(p, labels)
	})
}

// enforced reports whether the proxy of a pod enforces the policy. A policy with
// targets applies only to gateways and waypoints.
func enforced(p *securityv1.AuthorizationPolicy, labels map[string]string) bool {
	if len(p.Spec.GetTargetRefs()) > 0 || p.Spec.GetTargetRef() != nil {
		return false
	}
	if dry, err := strconv.ParseBool(p.Annotations[dryRun]); err == nil && dry {
		return false
	}
	return selects(p.Spec.GetSelector().GetMatchLabels(), labels)
}

// deniesAll reports whether a policy with action DENY denies every request to the
// port. A policy without rules never matches.
func deniesAll(p *securityv1.AuthorizationPolicy, port int32, e Enforcement) bool {
	return slices.ContainsFunc(p.Spec.GetRules(), func(r *securityv1beta1.Rule) bool {
		if r == nil {
			return false
		}
		from := len(r.GetFrom()) == 0 || slices.ContainsFunc(r.GetFrom(), func(f *securityv1beta1.Rule_From) bool { return everySource(f.GetSource(), e) })
		to := len(r.GetTo()) == 0 || slices.ContainsFunc(r.GetTo(), func(t *securityv1beta1.Rule_To) bool {
			o := t.GetOperation()
			// ztunnel evaluates the ports of an operation, and not its attributes of HTTP.
			onlyPorts := e == SidecarTCP || e == Ztunnel && len(o.GetPorts())+len(o.GetNotPorts()) > 0
			return includes(port, o.GetPorts(), o.GetNotPorts()) && (onlyPorts || !operationOfHTTP(o))
		})
		return from && to && !slices.ContainsFunc(r.GetWhen(), func(c *securityv1beta1.Condition) bool {
			switch {
			case c.GetKey() == "destination.port":
				return !includes(port, c.GetValues(), c.GetNotValues())
			case e == SidecarTCP && conditionOfHTTP(c, e):
				return false
			default:
				return true
			}
		})
	})
}

// mayAllow reports whether a rule of a policy with action ALLOW can match a request
// to the port.
func mayAllow(p *securityv1.AuthorizationPolicy, port int32, e Enforcement) bool {
	return slices.ContainsFunc(p.Spec.GetRules(), func(r *securityv1beta1.Rule) bool {
		if r == nil || e != SidecarHTTP && usesHTTP(r, e) {
			return false
		}
		to := len(r.GetTo()) == 0 || slices.ContainsFunc(r.GetTo(), func(t *securityv1beta1.Rule_To) bool {
			return includes(port, t.GetOperation().GetPorts(), t.GetOperation().GetNotPorts())
		})
		return to && !slices.ContainsFunc(r.GetWhen(), func(c *securityv1beta1.Condition) bool {
			return c.GetKey() == "destination.port" && !includes(port, c.GetValues(), c.GetNotValues())
		})
	})
}

// includes reports whether a port is one of the ports, if there are any, and none
// of the others.
func includes(port int32, ports, others []string) bool {
	number := strconv.Itoa(int(port))
	return (len(ports) == 0 || slices.Contains(ports, number)) && !slices.Contains(others, number)
}

// everySource reports whether every client is such a source. On connections, a
// sidecar ignores the principals of requests in DENY rules.
func everySource(s *securityv1beta1.Source, e Enforcement) bool {
	if e != SidecarTCP && sourceOfRequest(s) {
		return false
	}
	for _, values := range [][]string{
		s.GetPrincipals(), s.GetNotPrincipals(), s.GetNamespaces(), s.GetNotNamespaces(), s.GetIpBlocks(), s.GetNotIpBlocks(),
		s.GetRemoteIpBlocks(), s.GetNotRemoteIpBlocks(), s.GetServiceAccounts(), s.GetNotServiceAccounts(),
		s.GetTrustDomains(), s.GetNotTrustDomains(),
	} {
		if len(values) > 0 {
			return false
		}
	}
	return true
}

// UsesHTTP reports whether a rule has attributes that exist only for HTTP requests.
func UsesHTTP(r *securityv1beta1.Rule) bool { return usesHTTP(r, SidecarHTTP) }

// UnsupportedByZtunnel reports whether a rule has attributes that ztunnel does not
// evaluate. It ignores trust domains (Istio, pilot/pkg/serviceregistry/ambient,
// handleRule).
func UnsupportedByZtunnel(r *securityv1beta1.Rule) bool {
	return usesHTTP(r, Ztunnel) || slices.ContainsFunc(r.GetFrom(), func(f *securityv1beta1.Rule_From) bool {
		return len(f.GetSource().GetTrustDomains())+len(f.GetSource().GetNotTrustDomains()) > 0
	})
}

// usesHTTP reports whether a rule has attributes that exist only for HTTP requests
// or, for ztunnel, that ztunnel handles as such.
func usesHTTP(r *securityv1beta1.Rule, e Enforcement) bool {
	return slices.ContainsFunc(r.GetTo(), func(t *securityv1beta1.Rule_To) bool { return operationOfHTTP(t.GetOperation()) }) ||
		slices.ContainsFunc(r.GetFrom(), func(f *securityv1beta1.Rule_From) bool {
			s := f.GetSource()
			return sourceOfRequest(s) || e == Ztunnel && len(s.GetRemoteIpBlocks())+len(s.GetNotRemoteIpBlocks()) > 0
		}) ||
		slices.ContainsFunc(r.GetWhen(), func(c *securityv1beta1.Condition) bool { return conditionOfHTTP(c, e) })
}

func operationOfHTTP(o *securityv1beta1.Operation) bool {
	return len(o.GetHosts())+len(o.GetNotHosts())+len(o.GetMethods())+len(o.GetNotMethods())+len(o.GetPaths())+len(o.GetNotPaths()) > 0
}

func sourceOfRequest(s *securityv1beta1.Source) bool {
	return len(s.GetRequestPrincipals())+len(s.GetNotRequestPrincipals()) > 0
}

// attributesOfZtunnel are the attributes of conditions that ztunnel supports.
var attributesOfZtunnel = []string{"source.ip", "source.namespace", "source.principal", "destination.ip", "destination.port"}

func conditionOfHTTP(c *securityv1beta1.Condition, e Enforcement) bool {
	if e == Ztunnel {
		return !slices.Contains(attributesOfZtunnel, c.GetKey())
	}
	return strings.HasPrefix(c.GetKey(), "request.")
}
