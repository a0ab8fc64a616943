// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// Compare describes how got differs from want, with one sentence per
// difference. It returns nothing if both have the same Text. Counters are not
// part of a Table and are not compared.
func Compare(want, got Table) []string {
	if reflect.DeepEqual(want, got) {
		return nil // The most frequent case. Computing texts is expensive.
	}
	var out []string
	if w, g := want.Family+" "+want.Name, got.Family+" "+got.Name; w != g {
		out = append(out, fmt.Sprintf("table must be %s, found %s", w, g))
	}
	if !slices.Equal(want.Flags, got.Flags) {
		out = append(out, fmt.Sprintf("table flags must be %q, found %q", want.Flags, got.Flags))
	}
	setName := func(s Set) string { return s.Name }
	out = append(out, compareNamed("set", want.Sets, got.Sets, setName, compareSets)...)
	chainName := func(c Chain) string { return c.Name }
	out = append(out, compareNamed("chain", want.Chains, got.Chains, chainName, compareChains)...)
	if len(out) == 0 && want.Text() != got.Text() {
		out = append(out, "sets or chains are in a different order")
	}
	return out
}

// compareNamed compares two lists of named items.
func compareNamed[T any](kind string, want, got []T, name func(T) string, compare func(want, got T) []string) []string {
	var out []string
	find := func(list []T, n string) int {
		return slices.IndexFunc(list, func(t T) bool { return name(t) == n })
	}
	for _, w := range want {
		if i := find(got, name(w)); i >= 0 {
			out = append(out, compare(w, got[i])...)
		} else {
			out = append(out, fmt.Sprintf("%s %s is missing", kind, name(w)))
		}
	}
	for _, g := range got {
		if find(want, name(g)) < 0 {
			out = append(out, fmt.Sprintf("unexpected %s %s", kind, name(g)))
		}
	}
	return out
}

func compareSets(want, got Set) []string {
	var out []string
	if want.Type != got.Type || !slices.Equal(want.Flags, got.Flags) {
		out = append(out, fmt.Sprintf("set %s must have type %s and flags %q, found type %s and flags %q",
			want.Name, want.Type, want.Flags, got.Type, got.Flags))
	}
	return append(out, compareLists("set "+want.Name, "element", want.Elements, got.Elements)...)
}

func compareChains(want, got Chain) []string {
	var out []string
	if w, g := want.hookText(StylePortable), got.hookText(StylePortable); w != g {
		out = append(out, fmt.Sprintf("chain %s must have %q, found %q", want.Name, w, g))
	}
	return append(out, compareLists("chain "+want.Name, "rule", ruleTexts(want), ruleTexts(got))...)
}

func ruleTexts(c Chain) []string {
	out := make([]string, len(c.Rules))
	for i, r := range c.Rules {
		out[i] = r.Text()
	}
	return out
}

// compareLists reports missing and additional items, or that only the order or
// the number of items differs.
func compareLists(place, item string, want, got []string) []string {
	if slices.Equal(want, got) {
		return nil
	}
	missing, extra := without(want, got), without(got, want)
	var out []string
	if len(missing) > 0 {
		out = append(out, fmt.Sprintf("%s does not contain the %s %s", place, item, strings.Join(missing, ", ")))
	}
	if len(extra) > 0 {
		out = append(out, fmt.Sprintf("%s contains an unexpected %s %s", place, item, strings.Join(extra, ", ")))
	}
	if len(out) == 0 {
		out = append(out, fmt.Sprintf("%s contains its %ss in a different order", place, item))
	}
	return out
}

// without returns the items of a that are not in b, counting duplicates.
func without(a, b []string) []string {
	left := map[string]int{}
	for _, s := range b {
		left[s]++
	}
	var out []string
	for _, s := range a {
		if left[s]--; left[s] < 0 {
			out = append(out, s)
		}
	}
	return out
}
