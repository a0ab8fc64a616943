// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/nft"
)

func TestCompareDescribesDifference(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(t *nft.Table)
		want   string
	}{
		"nothing":          {func(*nft.Table) {}, ""},
		"other family":     {func(t *nft.Table) { t.Family = "ip" }, "table must be inet meshvm, found ip meshvm"},
		"dormant":          {func(t *nft.Table) { t.Flags = []string{"dormant"} }, `found ["dormant"]`},
		"set missing":      {func(t *nft.Table) { t.Sets = t.Sets[1:] }, "set outbound_exclude_ipv4 is missing"},
		"set added":        {func(t *nft.Table) { t.Sets = append(t.Sets, nft.Set{Name: "x"}) }, "unexpected set x"},
		"set of a type":    {func(t *nft.Table) { t.Sets[0].Type = nft.TypePort }, "set outbound_exclude_ipv4 must have type ipv4_addr"},
		"set with timeout": {func(t *nft.Table) { t.Sets[0].Flags = []string{"interval", "timeout"} }, `"timeout"`},
		"element missing":  {func(t *nft.Table) { t.Sets[0].Elements = t.Sets[0].Elements[1:] }, "does not contain the element 10.0.0.0/8"},
		"element added":    {func(t *nft.Table) { t.Sets[1].Elements = append(t.Sets[1].Elements, "1") }, "contains an unexpected element 1"},
		"element twice":    {func(t *nft.Table) { t.Sets[1].Elements = append(t.Sets[1].Elements, "5432") }, "contains an unexpected element 5432"},
		"chain missing":    {func(t *nft.Table) { t.Chains = t.Chains[:2] }, "chain postrouting is missing"},
		"chain added":      {func(t *nft.Table) { t.Chains = append(t.Chains, nft.Chain{Name: "x"}) }, "unexpected chain x"},
		"other priority":   {func(t *nft.Table) { t.Chains[0].Priority = -100 }, "chain prerouting must have"},
		"other hook":       {func(t *nft.Table) { t.Chains[0].Hook = nft.HookInput }, "hook input"},
		"policy":           {func(t *nft.Table) { t.Chains[0].Policy = "drop" }, "policy drop"},
		"rule missing":     {func(t *nft.Table) { t.Chains[1].Rules = t.Chains[1].Rules[1:] }, "chain output does not contain the rule ip daddr @local_ipv4 tcp dport @exposed_tcp"},
		"rule changed":     {func(t *nft.Table) { t.Chains[2].Rules[0].Statement.Address = "10.0.2.9" }, "snat ip to 10.0.2.9"},
		"counter dropped":  {func(t *nft.Table) { t.Chains[2].Rules[0].Counter = false }, "chain postrouting does not contain the rule"},
		"comment changed":  {func(t *nft.Table) { t.Chains[2].Rules[0].Comment = "x" }, `comment "x"`},
		"rules swapped": {func(t *nft.Table) {
			r := t.Chains[0].Rules
			r[0], r[1] = r[1], r[0]
		}, "chain prerouting contains its rules in a different order"},
		"sets swapped": {func(t *nft.Table) { t.Sets[0], t.Sets[1] = t.Sets[1], t.Sets[0] }, "sets or chains are in a different order"},
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
			tc.change(&got.Table)
			text := strings.Join(nft.Compare(want.Table, got.Table), "; ")
			if (text == "") != (tc.want == "") || !strings.Contains(text, tc.want) {
				t.Errorf("%q lacks %q", text, tc.want)
			}
			if (text == "") != (want.Digest() == got.Digest()) {
				t.Errorf("%q, but digests %s and %s", text, want.Digest(), got.Digest())
			}
		})
	}
}
