// SPDX-License-Identifier: Apache-2.0

package meshservice_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/meshservice"
)

func headless(m *meshservice.Member) { m.MVM.Spec.Service.Type = v1alpha1.ServiceTypeHeadless }

// owner makes the member an owner of the existing Service.
func owner(m *meshservice.Member) { m.Owner = true }

func ports(ports ...v1alpha1.Port) func(*meshservice.Member) {
	return func(m *meshservice.Member) { m.MVM.Spec.Ports = ports }
}

// TestPrecedence checks which members are compared with which, and who leads.
func TestPrecedence(t *testing.T) {
	web := func(changes ...func(*meshservice.Member)) meshservice.Member {
		return member("web", "v1", time.Second, changes...)
	}
	one := func(changes ...func(*meshservice.Member)) meshservice.Member {
		return member("a", "v2", time.Hour, changes...)
	}
	two := func(changes ...func(*meshservice.Member)) meshservice.Member {
		return member("b", "v3", time.Minute, changes...)
	}
	all := func(m ...meshservice.Member) []meshservice.Member { return m }
	other := ports(b.TCP("db", 5432))
	for name, tc := range map[string]struct {
		members  []meshservice.Member
		want     string // The members, the lead first.
		conflict string
		message  string
	}{
		"the first is rejected and stopped":   {all(web(rejected, stopped), one(), two(other)), "a b", "b", `port "db" differs from a`},
		"the first is accepted and stopped":   {all(web(stopped), one(other, stopped), two(other)), "web b", "a b", `port "db" differs from web`},
		"a rejected lead that runs":           {all(web(rejected), one(), two(other)), "web a b", "", ""},
		"the first of two kinds":              {all(web(headless, stopped), one()), "web", "a", "spec.service.type is ClusterIP, and Headless of web"},
		"a headless lead is added":            {all(web(headless, stopped), one(owner), two(owner)), "a b", "web", "spec.service.type is Headless, and ClusterIP of a"},
		"to an owner that is stopped":         {all(web(headless, stopped), one(owner, stopped)), "a", "web", "another service.name"},
		"with a guest that runs":              {all(web(headless), one(owner)), "a", "web", "cannot be changed to or from Headless"},
		"to an owner that is rejected":        {all(web(headless, stopped), one(owner, rejected)), "a", "web", "spec.service.type is Headless"},
		"to one that is stopped and rejected": {all(web(headless, stopped), one(owner, rejected, stopped)), "", "web", "spec.service.type is Headless"},
		"a lead with an IP to headless ones":  {all(web(stopped), one(headless, owner)), "a", "web", "spec.service.type is ClusterIP, and Headless of a"},
		"another type with an IP":             {all(web(func(m *meshservice.Member) { m.MVM.Spec.Service.Type = v1alpha1.ServiceTypeNodePort }), one(owner)), "web a", "", ""},
		"all are headless":                    {all(web(headless), one(headless, owner)), "web a", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := meshservice.Compute("web", tc.members, now)
			var names []string
			for _, m := range s.Members {
				names = append(names, m.MVM.Name)
			}
			if got := strings.Join(names, " "); got != tc.want {
				t.Errorf("the members are %q, want %q", got, tc.want)
			}
			conflicts := slices.Sorted(maps.Keys(s.Conflicts))
			if got := strings.Join(conflicts, " "); got != tc.conflict {
				t.Errorf("the members with a conflict are %q, want %q", got, tc.conflict)
			}
			if len(conflicts) > 0 && !strings.Contains(s.Conflicts[conflicts[len(conflicts)-1]], tc.message) {
				t.Errorf("the conflicts are %q, want %q", s.Conflicts, tc.message)
			}
		})
	}
}

// TestLimit adds members until the oldest are at the limit.
func TestLimit(t *testing.T) {
	for name, tc := range map[string]struct {
		older    int
		conflict bool
	}{
		"at the limit":     {meshservice.Limit - 1, false},
		"beyond the limit": {meshservice.Limit, true},
	} {
		t.Run(name, func(t *testing.T) {
			// The youngest would be the lead.
			members := []meshservice.Member{member("web", "v1", time.Second)}
			for i := range tc.older {
				members = append(members, member(fmt.Sprintf("m%d", i), "v2", time.Hour))
			}
			s := meshservice.Compute("web", members, now)
			if got := s.Conflicts["web"]; (got != "") != tc.conflict || tc.conflict && !strings.Contains(got, "32 older MeshedVirtualMachines have service.name web, which is the limit") {
				t.Errorf("the conflict is %q", got)
			}
			if len(s.Members) != meshservice.Limit || len(s.Conflicts) > 1 || (s.Lead().Name == "web") == tc.conflict {
				t.Errorf("%d members, the lead is %s, conflicts %q", len(s.Members), s.Lead().Name, s.Conflicts)
			}
		})
	}
}
