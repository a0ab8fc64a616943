// SPDX-License-Identifier: Apache-2.0

package main

import "regexp"

// habit is a way of writing that is rare in the documentation and comments of
// comparable operators. The linter's rules in styles/ reject the same habits in
// each file.
type habit struct {
	name string
	// pattern matches an occurrence: its first group, or all of it.
	pattern *regexp.Regexp
	// except, if set, is matched against the text from an occurrence on. A match
	// is not counted.
	except *regexp.Regexp
	// budget is the highest frequency per 10,000 words that was counted in the
	// documentation and comments of eight operators: cluster-api, karpenter,
	// cert-manager, kustomize-controller, gateway-api, kernel-module-management,
	// kubernetes-nmstate and cloudnative-pg.
	budget float64
	// instead is the advice to the writer.
	instead string
}

var habits = []habit{
	{
		name:    "somebody, nobody, anybody, whoever",
		pattern: regexp.MustCompile(`(?i)\b(?:some|no|any)body\b|\bwhoever\b`),
		budget:  0.2,
		instead: "name the actor, or use the passive",
	},
	{
		name:    "say, tell, said, told",
		pattern: regexp.MustCompile(`(?i)\b(?:says?|said|tells?|told)\b`),
		except:  regexp.MustCompile(`(?i)^tells?\s[^.]{0,60}\sapart\b`),
		budget:  5.7,
		instead: "reports, returns, shows, lists, contains, indicates or specifies",
	},
	{
		name:    "What ... as a noun",
		pattern: regexp.MustCompile(`(?:^|[.:;!?]\s+|\n\s*\n\s*(?:[-*]\s+)?|\n\s*[-*]\s+)(What)\b`),
		except:  regexp.MustCompile(`^What\b[^.!]*\?`),
		budget:  0.8,
		instead: `a noun: "the running state" instead of "what runs"`,
	},
	{
		name:    "is there, are there for exists",
		pattern: regexp.MustCompile(`(?i)\b(?:is|are)\s+there\b`),
		budget:  2.0,
		instead: "exists, is present or is set",
	},
	{
		name:    "anew, likewise, beside, in any case, at once, by itself",
		pattern: regexp.MustCompile(`(?i)\b(?:anew|likewise|beside|in\s+any\s+case|at\s+once|by\s+itself)\b`),
		budget:  3.2,
		instead: "again or re-, also, next to, always, immediately or automatically",
	},
	{
		name:    "of ours, of yours, of its own",
		pattern: regexp.MustCompile(`(?i)\bof\s+(?:ours|yours|theirs|mine|hers|(?:its|their|our|your|his|her|my)\s+own)\b`),
		budget:  0.2,
		instead: "our, your, the operator's, separate or dedicated",
	},
	{
		name:    "goes past the proxy",
		pattern: regexp.MustCompile(`(?i)\b(?:(?:go|goes|going|went|gone)\s+past|past\s+(?:(?:the|its|every|an?)\s+)?(?:proxy|sidecar|mesh|ztunnel|guest|Istio))\b`),
		budget:  0,
		instead: "bypasses",
	},
	{
		name:    "holds back, lets run",
		pattern: regexp.MustCompile(`(?i)\b(?:(?:hold|holds|held|holding)(?:\s+[\w']+){0,3}\s+back|(?:let|lets|letting)(?:\s+[\w']+){1,5}\s+run)\b`),
		budget:  1.4,
		instead: "blocks, delays, unpauses or starts",
	},
}

// find returns where a habit occurs in a text.
func (h *habit) find(text string) [][2]int {
	var found [][2]int
	for _, at := range h.pattern.FindAllStringSubmatchIndex(text, -1) {
		begin, end := at[len(at)-2], at[len(at)-1]
		if h.except != nil && h.except.MatchString(text[begin:]) {
			continue
		}
		found = append(found, [2]int{begin, end})
	}
	return found
}

// word matches a word of a text.
var word = regexp.MustCompile(`[A-Za-z][A-Za-z'’-]*`)
