// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"strings"
	"testing"
)

func TestCompareNamesTheDifference(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *Table)
		want   string
	}{
		"nothing":          {func(*Table) {}, ""},
		"repairs only":     {func(t *Table) { t.Chains[0].Rules[0].Repairs = nil }, ""},
		"other family":     {func(t *Table) { t.Family = "ip" }, "table inet meshvm: found ip meshvm"},
		"dormant":          {func(t *Table) { t.Flags = []string{"dormant"} }, `found ["dormant"]`},
		"set missing":      {func(t *Table) { t.Sets = t.Sets[1:] }, "set outbound_exclude_ipv4 is missing"},
		"set added":        {func(t *Table) { t.Sets = append(t.Sets, Set{Name: "x"}) }, "set x is not ours"},
		"set of a type":    {func(t *Table) { t.Sets[0].Type = TypePort }, "set outbound_exclude_ipv4 has type ipv4_addr"},
		"set with timeout": {func(t *Table) { t.Sets[0].Flags = []string{"interval", "timeout"} }, `"timeout"`},
		"element missing":  {func(t *Table) { t.Sets[0].Elements = t.Sets[0].Elements[1:] }, "lacks the element 10.0.0.0/8"},
		"element added":    {func(t *Table) { t.Sets[1].Elements = append(t.Sets[1].Elements, "1") }, "has the foreign element 1"},
		"element twice":    {func(t *Table) { t.Sets[1].Elements = append(t.Sets[1].Elements, "5432") }, "has the foreign element 5432"},
		"chain missing":    {func(t *Table) { t.Chains = t.Chains[:2] }, "chain postrouting is missing"},
		"chain added":      {func(t *Table) { t.Chains = append(t.Chains, Chain{Name: "x"}) }, "chain x is not ours"},
		"other priority":   {func(t *Table) { t.Chains[0].Priority = -100 }, "chain prerouting has"},
		"other hook":       {func(t *Table) { t.Chains[0].Hook = HookInput }, "hook input"},
		"policy":           {func(t *Table) { t.Chains[0].Policy = "drop" }, "policy drop"},
		"rule missing":     {func(t *Table) { t.Chains[1].Rules = t.Chains[1].Rules[1:] }, "chain output lacks the rule ip daddr @local_ipv4 tcp dport @exposed_tcp"},
		"rule changed":     {func(t *Table) { t.Chains[2].Rules[0].Statement.Address = "10.0.2.9" }, "snat ip to 10.0.2.9"},
		"counter dropped":  {func(t *Table) { t.Chains[2].Rules[0].Counter = false }, "chain postrouting lacks the rule"},
		"comment changed":  {func(t *Table) { t.Chains[2].Rules[0].Comment = "x" }, `comment "x"`},
		"rules swapped": {func(t *Table) {
			r := t.Chains[0].Rules
			r[0], r[1] = r[1], r[0]
		}, "chain prerouting has its rules in another order"},
		"sets swapped": {func(t *Table) { t.Sets[0], t.Sets[1] = t.Sets[1], t.Sets[0] }, "sets or chains are in another order"},
	} {
		t.Run(name, func(t *testing.T) {
			want, err := Build(fullPlan())
			if err != nil {
				t.Fatal(err)
			}
			got, err := Build(fullPlan())
			if err != nil {
				t.Fatal(err)
			}
			tc.change(&got)
			text := strings.Join(Compare(want, got), "; ")
			if (text == "") != (tc.want == "") || !strings.Contains(text, tc.want) {
				t.Errorf("%q lacks %q", text, tc.want)
			}
			if (text == "") != (want.Digest() == got.Digest()) {
				t.Errorf("%q, but digests %s and %s", text, want.Digest(), got.Digest())
			}
		})
	}
}

func TestPriorityText(t *testing.T) {
	for _, tc := range []struct {
		hook     Hook
		priority int32
		style    Style
		want     string
	}{
		{HookPrerouting, -110, StylePortable, "dstnat - 10"},
		{HookPrerouting, -111, StylePortable, "-111"},
		{HookPrerouting, -100, StylePortable, "dstnat"},
		{HookPrerouting, -95, StylePortable, "dstnat + 5"},
		{HookPrerouting, -310, StylePortable, "raw - 10"},
		{HookPrerouting, 90, StylePortable, "90"},
		{HookOutput, -110, StylePortable, "-110"},
		{HookOutput, -110, StyleNFT11, "dstnat - 10"},
		{HookPostrouting, 90, StylePortable, "srcnat - 10"},
		{HookForward, -1, StylePortable, "filter - 1"},
		{HookInput, -110, StyleNFT11, "-110"},
	} {
		if got := priorityText(tc.hook, tc.priority, tc.style); got != tc.want {
			t.Errorf("priority %d on %s is %q, want %q", tc.priority, tc.hook, got, tc.want)
		}
	}
}
