// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"encoding/json"
	"slices"
	"strings"
)

// configDump is the part of Envoy's ConfigDump (envoy/admin/v3/config_dump.proto) that
// the tests compare.
type configDump struct {
	Configs []struct {
		DynamicActiveClusters []struct {
			Cluster cluster `json:"cluster"`
		} `json:"dynamicActiveClusters"`
		DynamicEndpointConfigs []struct {
			EndpointConfig assignment `json:"endpointConfig"`
		} `json:"dynamicEndpointConfigs"`
		DynamicListeners []struct {
			ActiveState struct {
				Listener listener `json:"listener"`
			} `json:"activeState"`
		} `json:"dynamicListeners"`
		DynamicRouteConfigs []struct {
			RouteConfig routeConfig `json:"routeConfig"`
		} `json:"dynamicRouteConfigs"`
	} `json:"configs"`
}

type address struct {
	SocketAddress struct {
		Address   string `json:"address"`
		PortValue int    `json:"portValue"`
	} `json:"socketAddress"`
}

type transportSocket struct {
	TypedConfig struct {
		RequireClientCertificate bool   `json:"requireClientCertificate"`
		SNI                      string `json:"sni"`
		CommonTLSContext         *struct {
			TLSCertificateSDSSecretConfigs []struct {
				Name string `json:"name"`
			} `json:"tlsCertificateSdsSecretConfigs"`
		} `json:"commonTlsContext"`
	} `json:"typedConfig"`
}

type cluster struct {
	Name                   string `json:"name"`
	Type                   string `json:"type"`
	LbPolicy               string `json:"lbPolicy"`
	ConnectTimeout         string `json:"connectTimeout"`
	TransportSocketMatches []struct {
		Name string `json:"name"`
	} `json:"transportSocketMatches"`
	TransportSocket *transportSocket `json:"transportSocket"`
	CircuitBreakers struct {
		Thresholds []map[string]any `json:"thresholds"`
	} `json:"circuitBreakers"`
	OutlierDetection map[string]any `json:"outlierDetection"`
}

type assignment struct {
	ClusterName string `json:"clusterName"`
	Endpoints   []struct {
		Priority    int `json:"priority"`
		LbEndpoints []struct {
			HealthStatus string `json:"healthStatus"`
			Endpoint     struct {
				Address address `json:"address"`
			} `json:"endpoint"`
			Metadata struct {
				FilterMetadata struct {
					Match struct {
						TLSMode string `json:"tlsMode"`
					} `json:"envoy.transport_socket_match"`
				} `json:"filterMetadata"`
			} `json:"metadata"`
		} `json:"lbEndpoints"`
	} `json:"endpoints"`
}

type filterChain struct {
	Name             string `json:"name"`
	FilterChainMatch struct {
		DestinationPort      int      `json:"destinationPort"`
		TransportProtocol    string   `json:"transportProtocol"`
		ServerNames          []string `json:"serverNames"`
		ApplicationProtocols []string `json:"applicationProtocols"`
	} `json:"filterChainMatch"`
	Filters         []filter         `json:"filters"`
	TransportSocket *transportSocket `json:"transportSocket"`
}

type listener struct {
	Name               string        `json:"name"`
	Address            address       `json:"address"`
	FilterChains       []filterChain `json:"filterChains"`
	DefaultFilterChain *filterChain  `json:"defaultFilterChain"`
}

// filter is a filter of connections or of requests.
type filter struct {
	Name        string          `json:"name"`
	TypedConfig json.RawMessage `json:"typedConfig"`
}

// connectionManager is the configuration of the filter http_connection_manager.
type connectionManager struct {
	RDS *struct {
		RouteConfigName string `json:"routeConfigName"`
	} `json:"rds"`
	HTTPFilters []filter    `json:"httpFilters"`
	AccessLog   []accessLog `json:"accessLog"`
	Tracing     *tracing    `json:"tracing"`
}

// tcpProxy is the configuration of the filter tcp_proxy.
type tcpProxy struct {
	Cluster          string            `json:"cluster"`
	WeightedClusters *weightedClusters `json:"weightedClusters"`
	AccessLog        []accessLog       `json:"accessLog"`
}

type weightedClusters struct {
	Clusters []struct {
		Name   string `json:"name"`
		Weight int    `json:"weight"`
	} `json:"clusters"`
}

// authorization is the configuration of the filters `rbac` of connections and of requests.
type authorization struct {
	Rules *struct {
		Action   string                     `json:"action"`
		Policies map[string]json.RawMessage `json:"policies"`
	} `json:"rules"`
	ShadowRules *struct {
		Policies map[string]json.RawMessage `json:"policies"`
	} `json:"shadowRules"`
}

// tokenValidation is the configuration of the filter jwt_authn.
type tokenValidation struct {
	Providers map[string]struct {
		Issuer    string   `json:"issuer"`
		Audiences []string `json:"audiences"`
		LocalJWKS *struct {
			InlineString string `json:"inlineString"`
		} `json:"localJwks"`
	} `json:"providers"`
}

// issuers returns the issuers of the tokens, with their audiences and the names of the
// keys in the configuration.
func (v tokenValidation) issuers() []string {
	var out []string
	for _, name := range sortedKeys(v.Providers) {
		p := v.Providers[name]
		texts := []string{p.Issuer}
		if len(p.Audiences) > 0 {
			texts = append(texts, "for "+strings.Join(p.Audiences, ", "))
		}
		var set struct {
			Keys []struct {
				ID string `json:"kid"`
			} `json:"keys"`
		}
		if p.LocalJWKS != nil && json.Unmarshal([]byte(p.LocalJWKS.InlineString), &set) == nil {
			for _, k := range set.Keys {
				texts = append(texts, "with key "+k.ID)
			}
		}
		out = append(out, strings.Join(texts, " "))
	}
	return out
}

type routeConfig struct {
	Name         string        `json:"name"`
	VirtualHosts []virtualHost `json:"virtualHosts"`
}

type virtualHost struct {
	Name    string   `json:"name"`
	Domains []string `json:"domains"`
	Routes  []struct {
		Match map[string]any `json:"match"`
		Route struct {
			Cluster          string            `json:"cluster"`
			WeightedClusters *weightedClusters `json:"weightedClusters"`
			Timeout          string            `json:"timeout"`
			RetryPolicy      map[string]any    `json:"retryPolicy"`
			PrefixRewrite    string            `json:"prefixRewrite"`
			HashPolicy       []struct {
				Cookie struct {
					Name string `json:"name"`
					TTL  string `json:"ttl"`
				} `json:"cookie"`
				Header struct {
					Name string `json:"headerName"`
				} `json:"header"`
			} `json:"hashPolicy"`

			RequestMirrorPolicies []struct {
				Cluster string `json:"cluster"`
			} `json:"requestMirrorPolicies"`
		} `json:"route"`
		Redirect struct {
			PathRedirect string `json:"pathRedirect"`
		} `json:"redirect"`
		DirectResponse struct {
			Status int `json:"status"`
		} `json:"directResponse"`
		PerFilter map[string]map[string]any `json:"typedPerFilterConfig"`
	} `json:"routes"`
}

// resources are the resources of a dump by kind.
type resources struct {
	clusters    []cluster
	assignments map[string]assignment
	listeners   []listener
	routes      map[string]routeConfig
}

func (d *configDump) resources() resources {
	r := resources{assignments: map[string]assignment{}, routes: map[string]routeConfig{}}
	for _, c := range d.Configs {
		for _, x := range c.DynamicActiveClusters {
			r.clusters = append(r.clusters, x.Cluster)
		}
		for _, x := range c.DynamicEndpointConfigs {
			r.assignments[x.EndpointConfig.ClusterName] = x.EndpointConfig
		}
		for _, x := range c.DynamicListeners {
			r.listeners = append(r.listeners, x.ActiveState.Listener)
		}
		for _, x := range c.DynamicRouteConfigs {
			r.routes[x.RouteConfig.Name] = x.RouteConfig
		}
	}
	return r
}

// endpointNames returns the names of the clusters whose endpoints istiod sends.
func (r resources) endpointNames() []string {
	var names []string
	for _, c := range r.clusters {
		if c.Type == "EDS" {
			names = append(names, c.Name)
		}
	}
	return names
}

// routeNames returns the names of the routes to which the listeners refer.
func (r resources) routeNames() []string {
	var names []string
	for _, l := range r.listeners {
		for _, c := range l.chains() {
			if m, ok := c.http(); ok && m.RDS != nil {
				names = append(names, m.RDS.RouteConfigName)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (l listener) chains() []filterChain {
	if l.DefaultFilterChain == nil {
		return l.FilterChains
	}
	return append(slices.Clone(l.FilterChains), *l.DefaultFilterChain)
}

// decode reads the configuration of a filter of the chain.
func decode[T any](filters []filter, name string) (T, bool) {
	var out T
	for _, f := range filters {
		if f.Name == name {
			return out, json.Unmarshal(f.TypedConfig, &out) == nil
		}
	}
	return out, false
}

func (c filterChain) http() (connectionManager, bool) {
	return decode[connectionManager](c.Filters, "envoy.filters.network.http_connection_manager")
}

func (c filterChain) tcp() (tcpProxy, bool) {
	return decode[tcpProxy](c.Filters, "envoy.filters.network.tcp_proxy")
}

// short removes the host from the name of a cluster: "outbound|80|v2|web.shop.svc.cluster.local"
// becomes "80/v2".
func short(cluster, host string) (string, bool) {
	parts := strings.Split(cluster, "|")
	if len(parts) != 4 || parts[3] != host {
		return cluster, false
	}
	if parts[2] == "" {
		return parts[1], true
	}
	return parts[1] + "/" + parts[2], true
}
