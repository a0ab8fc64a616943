// SPDX-License-Identifier: Apache-2.0

package children

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/types/known/structpb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	clientv1alpha3 "istio.io/client-go/pkg/apis/networking/v1alpha3"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Names and types of Envoy's filters (Envoy, api/envoy/extensions/filters).
const (
	typePrefix = "type.googleapis.com/envoy.extensions.filters."

	connectionLimitFilter = "envoy.filters.network.connection_limit"
	connectionLimitType   = typePrefix + "network.connection_limit.v3.ConnectionLimit"
	connectionRateFilter  = "envoy.filters.network.local_ratelimit"
	connectionRateType    = typePrefix + "network.local_ratelimit.v3.LocalRateLimit"
	requestRateFilter     = "envoy.filters.http.local_ratelimit"
	requestRateType       = typePrefix + "http.local_ratelimit.v3.LocalRateLimit"
	connectionManager     = "envoy.filters.network.http_connection_manager"
	router                = "envoy.filters.http.router"
)

// envoyFilterPriority makes Istio apply the filters after those of other EnvoyFilters
// that do not set a priority.
const envoyFilterPriority = 10

// ruleKey is the key of the descriptors that identify rules of a rate limit.
const ruleKey = "rule"

// envoyFilter builds the filters that limit connections and requests to the ports. All
// values come from typed fields, as data of a protobuf message. A guest without limits
// has no EnvoyFilter.
func envoyFilter(in Input) ([]Object, error) {
	mvm := in.MVM
	var inserts []insert
	limited := map[int32]bool{}
	for _, p := range mvm.Spec.Ports {
		// Ports with the same number in the guest have one filter chain and the same limits.
		if n := p.TargetPortOrDefault(); p.IsMeshed() && !limited[n] {
			limited[n] = true
			inserts = append(inserts, portFilters(p)...)
		}
	}
	if len(inserts) == 0 {
		return nil, nil
	}
	ef := &clientv1alpha3.EnvoyFilter{ObjectMeta: meta(mvm, mvm.Name)}
	ef.SetGroupVersionKind(EnvoyFilterKind)
	ef.Spec.WorkloadSelector = &networkingv1alpha3.WorkloadSelector{Labels: guestSelector(mvm).MatchLabels}
	ef.Spec.Priority = envoyFilterPriority
	for _, i := range inserts {
		patch, err := i.patch()
		if err != nil {
			return nil, err
		}
		ef.Spec.ConfigPatches = append(ef.Spec.ConfigPatches, patch)
	}
	return []Object{ef}, nil
}

// portFilters returns the filters for the filter chains that receive the connections to a
// port of the guest.
func portFilters(p v1alpha1.Port) []insert {
	var out []insert
	if p.MaxConnections > 0 {
		out = append(out, networkFilter(p, connectionLimitFilter, map[string]any{
			"@type":           connectionLimitType,
			"stat_prefix":     statPrefix(p),
			"max_connections": int64(p.MaxConnections),
		}))
	}
	switch {
	case !p.RateLimit.IsSet():
	case p.IsMeshedHTTP():
		out = append(out, requestFilter(p))
	default:
		out = append(out, networkFilter(p, connectionRateFilter, map[string]any{
			"@type":        connectionRateType,
			"stat_prefix":  statPrefix(p),
			"token_bucket": bucket(p.RateLimit.Requests, p.RateLimit.Burst, p.RateLimit.Per),
			// A port has a filter chain for mutual TLS and one for plain text.
			"share_key": statPrefix(p),
		}))
	}
	return out
}

// statPrefix is the prefix of the statistics of a port's filters.
func statPrefix(p v1alpha1.Port) string { return fmt.Sprintf("meshvm_%d", p.TargetPortOrDefault()) }

// networkFilter inserts a filter of connections before all others.
func networkFilter(p v1alpha1.Port, name string, config map[string]any) insert {
	return insert{
		networkingv1alpha3.EnvoyFilter_NETWORK_FILTER, networkingv1alpha3.EnvoyFilter_Patch_INSERT_FIRST, name, config,
		&networkingv1alpha3.EnvoyFilter_ListenerMatch_FilterChainMatch{DestinationPort: targetNumber(p)},
	}
}

// requestFilter inserts the filter of requests as the last before the router, so that
// requests that are not authorized do not count.
func requestFilter(p v1alpha1.Port) insert {
	r := p.RateLimit
	always := map[string]any{"default_value": map[string]any{"numerator": 100, "denominator": "HUNDRED"}}
	config := map[string]any{
		"@type":           requestRateType,
		"stat_prefix":     statPrefix(p),
		"token_bucket":    bucket(r.Requests, r.Burst, r.Per),
		"filter_enabled":  always,
		"filter_enforced": always,
		// Istio's clients retry a gRPC call with the status UNAVAILABLE.
		"rate_limited_as_resource_exhausted": true,
	}
	if len(r.Rules) > 0 {
		var actions, descriptors []any
		for _, rule := range r.Rules {
			actions = append(actions, matchActions(rule)...)
			descriptors = append(descriptors, map[string]any{
				"entries":      []any{map[string]any{"key": ruleKey, "value": rule.Name}},
				"token_bucket": bucket(rule.Requests, rule.Burst, rule.Per),
			})
		}
		config["rate_limits"], config["descriptors"] = actions, descriptors
	}
	return insert{
		networkingv1alpha3.EnvoyFilter_HTTP_FILTER, networkingv1alpha3.EnvoyFilter_Patch_INSERT_BEFORE, requestRateFilter, config,
		&networkingv1alpha3.EnvoyFilter_ListenerMatch_FilterChainMatch{
			DestinationPort: targetNumber(p),
			Filter: &networkingv1alpha3.EnvoyFilter_ListenerMatch_FilterMatch{
				Name: connectionManager, SubFilter: &networkingv1alpha3.EnvoyFilter_ListenerMatch_SubFilterMatch{Name: router},
			},
		},
	}
}

// matchActions returns the actions that add the descriptor of a rule to matching requests:
// one per method, because a matcher compares a header with one value.
func matchActions(rule v1alpha1.RateLimitRule) []any {
	var path []any
	if rule.Match.PathPrefix != "" {
		path = []any{map[string]any{"name": ":path", "string_match": map[string]any{"prefix": rule.Match.PathPrefix}}}
	}
	action := func(headers []any) any {
		return map[string]any{"actions": []any{map[string]any{"header_value_match": map[string]any{
			"descriptor_key": ruleKey, "descriptor_value": rule.Name, "headers": headers,
		}}}}
	}
	if len(rule.Match.Methods) == 0 {
		return []any{action(path)}
	}
	var out []any
	for _, m := range rule.Match.Methods {
		method := map[string]any{"name": ":method", "string_match": map[string]any{"exact": string(m)}}
		out = append(out, action(append(slices.Clone(path), method)))
	}
	return out
}

// intervals are the durations of the periods in the notation of protobuf.
var intervals = map[v1alpha1.RateLimitPeriod]string{
	v1alpha1.RateLimitPeriodSecond: "1s",
	v1alpha1.RateLimitPeriodMinute: "60s",
	v1alpha1.RateLimitPeriodHour:   "3600s",
}

// bucket returns a token bucket (Envoy, type.v3.TokenBucket). Envoy adds tokens
// continuously at the rate, up to the burst.
func bucket(requests, burst int32, per v1alpha1.RateLimitPeriod) map[string]any {
	if burst == 0 {
		burst = requests
	}
	return map[string]any{"max_tokens": int64(burst), "tokens_per_fill": int64(requests), "fill_interval": intervals[per]}
}

func targetNumber(p v1alpha1.Port) uint32 { return v1alpha1.IstioPort(p.TargetPortOrDefault()) }

// insert is a filter to insert into the filter chains of a port, in every listener for
// inbound connections.
type insert struct {
	kind      networkingv1alpha3.EnvoyFilter_ApplyTo
	operation networkingv1alpha3.EnvoyFilter_Patch_Operation
	name      string
	config    map[string]any
	chain     *networkingv1alpha3.EnvoyFilter_ListenerMatch_FilterChainMatch
}

func (i insert) patch() (*networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch, error) {
	value, err := structpb.NewStruct(map[string]any{"name": i.name, "typed_config": i.config})
	if err != nil {
		return nil, fmt.Errorf("encode filter %s: %w", i.name, err)
	}
	return &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectPatch{
		ApplyTo: i.kind,
		Match: &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch{
			Context: networkingv1alpha3.EnvoyFilter_SIDECAR_INBOUND,
			ObjectTypes: &networkingv1alpha3.EnvoyFilter_EnvoyConfigObjectMatch_Listener{
				Listener: &networkingv1alpha3.EnvoyFilter_ListenerMatch{FilterChain: i.chain},
			},
		},
		Patch: &networkingv1alpha3.EnvoyFilter_Patch{Operation: i.operation, Value: value},
	}, nil
}
