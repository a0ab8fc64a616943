// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// accessLog is an entry of access_log of a filter (envoy/config/accesslog/v3).
type accessLog struct {
	Name   string `json:"name"`
	Filter *struct {
		Extension struct {
			Name        string `json:"name"`
			TypedConfig struct {
				Expression string `json:"expression"`
			} `json:"typedConfig"`
		} `json:"extensionFilter"`
	} `json:"filter"`
}

// tracing is the field of this name of the filter http_connection_manager.
type tracing struct {
	Random struct {
		Value float64 `json:"value"`
	} `json:"randomSampling"`
	CustomTags []struct {
		Tag string `json:"tag"`
	} `json:"customTags"`
	Provider struct {
		Name string `json:"name"`
	} `json:"provider"`
}

// standardTags is the prefix of the tags that Istio adds to each span.
const standardTags = "istio."

// statistics is the configuration of the filter istio.stats.
type statistics struct {
	Metrics []struct {
		Name         string            `json:"name"`
		Dimensions   map[string]string `json:"dimensions"`
		TagsToRemove []string          `json:"tagsToRemove"`
		Drop         bool              `json:"drop"`
	} `json:"metrics"`
}

// describeTelemetry returns the access logs, the traces and the changed metrics of a
// filter chain.
func describeTelemetry(c filterChain) []string {
	var out []string
	if m, ok := c.http(); ok {
		out = describeLogs(m.AccessLog)
		if m.Tracing != nil && m.Tracing.Provider.Name != "" {
			parts := []string{fmt.Sprintf("traces of %v %% to %s", m.Tracing.Random.Value, m.Tracing.Provider.Name)}
			for _, t := range m.Tracing.CustomTags {
				if !strings.HasPrefix(t.Tag, standardTags) {
					parts = append(parts, "tag "+t.Tag)
				}
			}
			out = append(out, strings.Join(parts, ", "))
		}
		for _, f := range m.HTTPFilters {
			out = append(out, describeMetrics(f)...)
		}
		return out
	}
	if p, ok := c.tcp(); ok {
		out = describeLogs(p.AccessLog)
	}
	for _, f := range c.Filters {
		out = append(out, describeMetrics(f)...)
	}
	return out
}

func describeLogs(logs []accessLog) []string {
	var out []string
	for _, l := range logs {
		text := "access log " + l.Name[strings.LastIndex(l.Name, ".")+1:]
		if l.Filter != nil {
			text += " if " + l.Filter.Extension.TypedConfig.Expression
		}
		out = append(out, text)
	}
	return out
}

func describeMetrics(f filter) []string {
	var s statistics
	if f.Name != "istio.stats" || json.Unmarshal(f.TypedConfig, &s) != nil {
		return nil
	}
	var out []string
	for _, m := range s.Metrics {
		parts := []string{"metric " + m.Name}
		for _, d := range slices.Sorted(maps.Keys(m.Dimensions)) {
			parts = append(parts, d+" = "+m.Dimensions[d])
		}
		for _, r := range m.TagsToRemove {
			parts = append(parts, "without "+r)
		}
		if m.Drop {
			parts = append(parts, "dropped")
		}
		out = append(out, strings.Join(parts, ", "))
	}
	return out
}
