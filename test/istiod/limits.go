// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"encoding/json"
	"fmt"
	"strings"
)

// limit is the configuration of the filters `connection_limit` and `local_ratelimit`.
type limit struct {
	MaxConnections string  `json:"maxConnections"`
	TokenBucket    *bucket `json:"tokenBucket"`
	ShareKey       string  `json:"shareKey"`
	Enabled        *share  `json:"filterEnabled"`
	Enforced       *share  `json:"filterEnforced"`
	RateLimits     []struct {
		Actions []struct {
			HeaderValueMatch struct {
				Key     string `json:"descriptorKey"`
				Value   string `json:"descriptorValue"`
				Headers []struct {
					Name        string            `json:"name"`
					StringMatch map[string]string `json:"stringMatch"`
				} `json:"headers"`
			} `json:"headerValueMatch"`
		} `json:"actions"`
	} `json:"rateLimits"`
	Descriptors []struct {
		Entries     []struct{ Key, Value string } `json:"entries"`
		TokenBucket bucket                        `json:"tokenBucket"`
	} `json:"descriptors"`
}

type bucket struct {
	MaxTokens     int    `json:"maxTokens"`
	TokensPerFill int    `json:"tokensPerFill"`
	FillInterval  string `json:"fillInterval"`
}

func (b bucket) String() string {
	return fmt.Sprintf("%d per %s, burst %d", b.TokensPerFill, b.FillInterval, b.MaxTokens)
}

// share is the part of the requests to which a filter applies.
type share struct {
	DefaultValue struct {
		Numerator   int    `json:"numerator"`
		Denominator string `json:"denominator"`
	} `json:"defaultValue"`
}

// whole reports whether a filter applies to all requests. The denominator HUNDRED is the
// default, which istiod omits.
func (s *share) whole() bool {
	return s == nil || s.DefaultValue.Numerator == 100 && s.DefaultValue.Denominator == ""
}

// describeLimit returns the limit of a filter and its rules.
func describeLimit(config json.RawMessage) string {
	var l limit
	if err := json.Unmarshal(config, &l); err != nil {
		return err.Error()
	}
	if l.MaxConnections != "" {
		return l.MaxConnections
	}
	var text []string
	if l.TokenBucket != nil {
		text = append(text, l.TokenBucket.String())
	}
	if l.ShareKey != "" {
		text = append(text, "shared as "+l.ShareKey)
	}
	if !l.Enabled.whole() || !l.Enforced.whole() {
		text = append(text, "not for all requests")
	}
	for _, d := range l.Descriptors {
		for _, e := range d.Entries {
			text = append(text, fmt.Sprintf("%s %s: %s", e.Key, e.Value, d.TokenBucket))
		}
	}
	for _, r := range l.RateLimits {
		for _, a := range r.Actions {
			match := a.HeaderValueMatch
			matched := []string{match.Key, match.Value, "if"}
			for _, h := range match.Headers {
				for _, how := range sortedKeys(h.StringMatch) {
					matched = append(matched, h.Name, "has", how, h.StringMatch[how])
				}
			}
			text = append(text, strings.Join(matched, " "))
		}
	}
	return strings.Join(text, "; ")
}
