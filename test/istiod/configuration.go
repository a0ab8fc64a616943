// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Configuration is what a proxy does, in the terms of the mesh.
type Configuration struct {
	// Inbound are the ports of the pod that istiod knows.
	Inbound []Inbound `json:"inbound,omitempty"`
	// Egress is how the proxy forwards the connections of the pod.
	Egress *Egress `json:"egress,omitempty"`
	// Outbound are the ports of one Service.
	Outbound []Outbound `json:"outbound,omitempty"`
	// Clusters are the destinations of one Service to which its routes refer.
	Clusters []Cluster `json:"clusters,omitempty"`
}

// Inbound is a port of the pod.
type Inbound struct {
	Port     int    `json:"port"`
	MTLS     string `json:"mtls"`
	Protocol string `json:"protocol"`
	// Filters are the filters that policies add to each filter chain of the port, and
	// its telemetry.
	Filters []string `json:"filters,omitempty"`
}

// Outbound is a port of the Service.
type Outbound struct {
	Port     int     `json:"port"`
	Protocol string  `json:"protocol"`
	Routes   []Route `json:"routes"`
}

// Route is a route of a port.
type Route struct {
	Match   map[string]any `json:"match,omitempty"`
	To      []string       `json:"to,omitempty"`
	Timeout string         `json:"timeout,omitempty"`
	Retries string         `json:"retries,omitempty"`
	// Fault, Mirrors, Rewrite and CORS are the changes of a request.
	Fault   map[string]any `json:"fault,omitempty"`
	Mirrors []string       `json:"mirrors,omitempty"`
	Rewrite string         `json:"rewrite,omitempty"`
	CORS    bool           `json:"cors,omitempty"`
	// Hash are the parts of a request from which the endpoint follows.
	Hash []string `json:"hash,omitempty"`
	// Redirect and Status are the response of the proxy.
	Redirect string `json:"redirect,omitempty"`
	Status   int    `json:"status,omitempty"`
}

// Cluster is a destination. Its name is the port and the subset.
type Cluster struct {
	Name             string         `json:"name"`
	Type             string         `json:"type"`
	LoadBalancer     string         `json:"loadBalancer,omitempty"`
	TLS              string         `json:"tls"`
	Limits           map[string]any `json:"limits,omitempty"`
	OutlierDetection map[string]any `json:"outlierDetection,omitempty"`
	Endpoints        []string       `json:"endpoints,omitempty"`
}

// baseFilters are the filters that each sidecar has.
var baseFilters = []string{
	"istio.metadata_exchange", "istio.alpn", "istio.stats", "envoy.filters.http.grpc_stats", "envoy.filters.http.fault",
	"envoy.filters.http.cors", "envoy.filters.http.router", "envoy.filters.network.tcp_proxy", "envoy.filters.network.http_connection_manager",
}

// configuration returns the configuration of the pod's ports, and of the Service.
func (r resources) configuration(host string) *Configuration {
	c := &Configuration{Egress: r.egress()}
	for _, l := range r.listeners {
		switch {
		case l.Name == "virtualInbound":
			c.Inbound = inbound(l.FilterChains)
		case strings.HasPrefix(l.Name, "virtual"):
		default:
			c.Outbound = append(c.Outbound, r.outbound(l, host)...)
		}
	}
	slices.SortFunc(c.Outbound, func(a, b Outbound) int { return cmp.Compare(a.Port, b.Port) })
	used := map[string]bool{}
	for _, o := range c.Outbound {
		for _, route := range o.Routes {
			for _, to := range append(slices.Clone(route.To), route.Mirrors...) {
				name, _, _ := strings.Cut(to, " ")
				used[name] = true
			}
		}
	}
	for _, x := range r.clusters {
		if name, ok := short(x.Name, host); ok && strings.HasPrefix(x.Name, "outbound|") && used[name] {
			c.Clusters = append(c.Clusters, r.cluster(x, name))
		}
	}
	slices.SortFunc(c.Clusters, func(a, b Cluster) int { return cmp.Compare(a.Name, b.Name) })
	return c
}

// inbound returns the ports of the pod for which istiod knows a Service.
func inbound(chains []filterChain) []Inbound {
	byPort := map[int][]filterChain{}
	for _, c := range chains {
		if p := c.FilterChainMatch.DestinationPort; p != 0 && p != 15006 {
			byPort[p] = append(byPort[p], c)
		}
	}
	var all []Inbound
	for port, chains := range byPort {
		in := Inbound{Port: port, MTLS: mode(chains), Protocol: "TCP"}
		count := map[string]int{}
		for _, c := range chains {
			filters := c.Filters
			if m, ok := c.http(); ok {
				in.Protocol = "HTTP"
				filters = append(slices.Clone(filters), m.HTTPFilters...)
			}
			for _, text := range append(describe(filters), describeTelemetry(c)...) {
				count[text]++
			}
		}
		for _, text := range sortedKeys(count) {
			if n := count[text]; n != len(chains) {
				text += fmt.Sprintf(" (in %d of %d filter chains)", n, len(chains))
			}
			in.Filters = append(in.Filters, text)
		}
		all = append(all, in)
	}
	slices.SortFunc(all, func(a, b Inbound) int { return cmp.Compare(a.Port, b.Port) })
	return all
}

// mode returns the mutual TLS mode of a port, from its filter chains.
func mode(chains []filterChain) string {
	demanded, open := false, false
	for _, c := range chains {
		if c.TransportSocket != nil && c.TransportSocket.TypedConfig.RequireClientCertificate {
			demanded = true
		} else {
			open = true
		}
	}
	switch {
	case demanded && open:
		return "PERMISSIVE"
	case demanded:
		return "STRICT"
	default:
		return "DISABLE"
	}
}

// describe returns the filters that policies add.
func describe(filters []filter) []string {
	var out []string
	for _, f := range filters {
		if slices.Contains(baseFilters, f.Name) {
			continue
		}
		text := f.Name[strings.LastIndex(f.Name, ".")+1:]
		var r authorization
		if text == "rbac" && json.Unmarshal(f.TypedConfig, &r) == nil {
			if r.Rules != nil {
				text += " " + cmp.Or(r.Rules.Action, "ALLOW") + " " + strings.Join(sortedKeys(r.Rules.Policies), ", ")
			}
			if r.ShadowRules != nil {
				text += " shadow " + strings.Join(sortedKeys(r.ShadowRules.Policies), ", ")
			}
		}
		if strings.HasSuffix(text, "limit") {
			text += " " + describeLimit(f.TypedConfig)
		}
		var tokens tokenValidation
		if text == "jwt_authn" && json.Unmarshal(f.TypedConfig, &tokens) == nil {
			text += " " + strings.Join(tokens.issuers(), ", ")
		}
		out = append(out, text)
	}
	return out
}

// outbound returns the routes of a listener to the Service.
func (r resources) outbound(l listener, host string) []Outbound {
	port := l.Address.SocketAddress.PortValue
	for _, c := range l.chains() {
		if m, ok := c.http(); ok && m.RDS != nil {
			var out []Outbound
			for _, h := range r.routes[m.RDS.RouteConfigName].VirtualHosts {
				if h.Name == host+":"+strconv.Itoa(port) {
					out = append(out, Outbound{Port: port, Protocol: "HTTP", Routes: httpRoutes(h, host)})
				}
			}
			return out
		}
		if p, ok := c.tcp(); ok {
			to, ours := targets(p.Cluster, p.WeightedClusters, host)
			if ours {
				return []Outbound{{Port: port, Protocol: "TCP", Routes: []Route{{To: to}}}}
			}
		}
	}
	return nil
}

func httpRoutes(h virtualHost, host string) []Route {
	var routes []Route
	for _, x := range h.Routes {
		route := Route{Match: x.Match, Redirect: x.Redirect.PathRedirect, Status: x.DirectResponse.Status, Rewrite: x.Route.PrefixRewrite}
		delete(route.Match, "caseSensitive")
		if x.Route.Cluster != "" || x.Route.WeightedClusters != nil {
			route.To, _ = targets(x.Route.Cluster, x.Route.WeightedClusters, host)
		}
		if x.Route.Timeout != "0s" {
			route.Timeout = x.Route.Timeout
		}
		for _, h := range x.Route.HashPolicy {
			if h.Cookie.Name != "" {
				route.Hash = append(route.Hash, fmt.Sprintf("cookie %s for %s", h.Cookie.Name, h.Cookie.TTL))
			} else {
				route.Hash = append(route.Hash, "header "+h.Header.Name)
			}
		}
		for _, m := range x.Route.RequestMirrorPolicies {
			name, _ := short(m.Cluster, host)
			route.Mirrors = append(route.Mirrors, name)
		}
		route.Fault = x.PerFilter["envoy.filters.http.fault"]
		delete(route.Fault, "@type")
		route.CORS = x.PerFilter["envoy.filters.http.cors"] != nil
		if p := x.Route.RetryPolicy; p != nil {
			route.Retries = fmt.Sprintf("%v on %v", p["numRetries"], p["retryOn"])
			if each, ok := p["perTryTimeout"]; ok {
				route.Retries += fmt.Sprintf(", %v each", each)
			}
		}
		routes = append(routes, route)
	}
	return routes
}

// targets returns the destinations of a route, and whether they are of the Service.
func targets(single string, weighted *weightedClusters, host string) (to []string, ours bool) {
	if weighted == nil {
		name, ours := short(single, host)
		return []string{name}, ours
	}
	for _, w := range weighted.Clusters {
		name, o := short(w.Name, host)
		ours = ours || o
		to = append(to, fmt.Sprintf("%s %d %%", name, w.Weight))
	}
	return to, ours
}

// unlimited is the value of a limit that Istio does not set.
const unlimited = float64(4294967295)

func (r resources) cluster(x cluster, name string) Cluster {
	c := Cluster{Name: name, Type: x.Type, LoadBalancer: x.LbPolicy, OutlierDetection: x.OutlierDetection, TLS: x.tls()}
	for _, threshold := range x.CircuitBreakers.Thresholds {
		for key, value := range threshold {
			if value != unlimited && key != "trackRemaining" {
				if c.Limits == nil {
					c.Limits = map[string]any{}
				}
				c.Limits[key] = value
			}
		}
	}
	for _, locality := range r.assignments[x.Name].Endpoints {
		for _, e := range locality.LbEndpoints {
			a := e.Endpoint.Address.SocketAddress
			text := a.Address + ":" + strconv.Itoa(a.PortValue)
			if mode := e.Metadata.FilterMetadata.Match.TLSMode; mode != "" {
				text += " tlsMode " + mode
			}
			if e.HealthStatus != "HEALTHY" {
				text += " " + e.HealthStatus
			}
			if locality.Priority != 0 {
				text += " priority " + strconv.Itoa(locality.Priority)
			}
			c.Endpoints = append(c.Endpoints, text)
		}
	}
	slices.Sort(c.Endpoints)
	return c
}

// tls returns how a client encrypts connections to a destination. In the automatic mode
// it uses mutual TLS for endpoints with the tlsMode istio.
func (x cluster) tls() string {
	switch {
	case len(x.TransportSocketMatches) > 0:
		names := make([]string, 0, len(x.TransportSocketMatches))
		for _, m := range x.TransportSocketMatches {
			names = append(names, m.Name)
		}
		return strings.Join(names, ", ")
	case x.TransportSocket == nil || x.TransportSocket.TypedConfig.CommonTLSContext == nil:
		return "none"
	case len(x.TransportSocket.TypedConfig.CommonTLSContext.TLSCertificateSDSSecretConfigs) > 0:
		return "ISTIO_MUTUAL"
	default:
		return "SIMPLE"
	}
}

func sortedKeys[T any](m map[string]T) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
