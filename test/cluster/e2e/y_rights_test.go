// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// excuse explains why the operator has permissions that it does not need in these tests. In
// some runs it does.
type excuse struct {
	verb      string
	resources *regexp.Regexp
	why       string
}

var excuses = []excuse{
	{"list", regexp.MustCompile(`.`), "a watch cache lists where the API server streams no lists (Kubernetes before 1.34), or for once refuses to"},
	{"create", regexp.MustCompile(`^(services|(virtualmachines\.kubevirt|podnatconfigurations\.meshvm|.*\.istio)\.io)$`), "a server-side apply that makes an object is checked for create too, but logged as patch"},
	{"delete", regexp.MustCompile(`^(services|podnatconfigurations\.meshvm\.io|.*\.istio\.io)$`), "an object that is no longer wanted is deleted; these tests have no such change for each kind"},
	{"update", regexp.MustCompile(`^meshedvirtualmachines/finalizers\.meshvm\.io$`), "no call: OpenShift requires it from a client that sets blockOwnerDeletion (OwnerReferencesPermissionEnforcement)"},
	{"patch", regexp.MustCompile(`^events\.events\.k8s\.io$`), "an event that repeats itself is counted in the object of the first"},
}

func excused(r right) bool {
	return slices.ContainsFunc(excuses, func(e excuse) bool { return e.verb == r.verb && e.resources.MatchString(r.resource) })
}

// earlierPods are the UIDs of managers of an earlier version, whose calls are not
// this one's.
var earlierPods = map[string]bool{}

// right is one verb on one resource, in one namespace or, if that is empty, in all.
type right struct{ namespace, resource, verb string }

func (r right) String() string {
	where := "cluster"
	if r.namespace != "" {
		where = r.namespace
	}
	return fmt.Sprintf("%s %s in %s", r.verb, r.resource, where)
}

// resourceName is resource/subresource with its group.
func resourceName(group, resource, subresource string) string {
	if subresource != "" {
		resource += "/" + subresource
	}
	if group != "" {
		resource += "." + group
	}
	return resource
}

// call counts requests of one kind.
type call struct{ allowed, refused int }

// TestRights compares what the operator asked the API server for in all the
// tests before with what its roles allow: no more, and no less.
func TestRights(t *testing.T) {
	s := start(t)
	ctx := testContext(t, time.Minute)
	scrape(ctx, t, s)
	account := "system:serviceaccount:" + scenario.OperatorNamespace + ":" + scenario.OperatorDeployment
	calls, other := auditedCalls(t, s, account)
	for _, o := range other {
		t.Errorf("a call by an account that should make none: %s", o)
	}
	rights, err := rightsOf(ctx, s, scenario.OperatorDeployment, scenario.OperatorNamespace)
	if err != nil {
		t.Fatal(err)
	}
	if len(rights) == 0 || len(calls) == 0 {
		t.Fatalf("%d rights and %d kinds of calls: was the operator here?", len(rights), len(calls))
	}
	used := map[right]call{}
	for r, c := range calls {
		if c.refused > 0 {
			t.Errorf("refused: %s, %d times", r, c.refused)
		}
		if c.allowed == 0 {
			continue
		}
		if !slices.Contains(rights, r) {
			r.namespace = "" // allowed everywhere
		}
		if !slices.Contains(rights, r) {
			t.Errorf("allowed, but by none of the operator's roles: %s", r)
		}
		u := used[r]
		u.allowed += c.allowed
		used[r] = u
	}
	printRights(t, rights, used)
	for _, r := range rights {
		if used[r].allowed == 0 && !excused(r) {
			t.Errorf("never used: %s. Take it out of the markers, use it in a test, or state here why it is needed", r)
		}
	}
	for _, e := range excuses {
		if !slices.ContainsFunc(rights, func(r right) bool { return e.verb == r.verb && e.resources.MatchString(r.resource) }) {
			t.Errorf("there is no right to %s %s any more, for which the excuse is: %s", e.verb, e.resources, e.why)
		}
	}
}

// scrape reads the manager's metrics as a monitoring system does, which has the
// manager ask the API server who that is.
func scrape(ctx context.Context, t *testing.T, s *scenario.Scenario) {
	t.Helper()
	const account = `
apiVersion: v1
kind: ServiceAccount
metadata: {name: scraper, namespace: default}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: scraper}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: meshvm-metrics-reader}
subjects: [{kind: ServiceAccount, name: scraper, namespace: default}]
`
	if err := s.ApplyManifest(ctx, []byte(account)); err != nil {
		t.Fatal(err)
	}
	var token strings.Builder
	if err := s.Kubectl(ctx, cluster.Stdio{Out: &token}, "-n", "default", "create", "token", "scraper"); err != nil {
		t.Fatal(err)
	}
	var service corev1.Service
	if err := s.Get(ctx, client.ObjectKey{Namespace: scenario.OperatorNamespace, Name: scenario.OperatorDeployment + "-metrics"}, &service); err != nil {
		t.Fatal(err)
	}
	url := "https://" + service.Spec.ClusterIP + ":8443/metrics"
	out, err := s.NodeExec(ctx, managers(ctx, t, s)[0].Spec.NodeName, "curl", "-sSk", "--max-time", "10", "-w", "%{http_code}", "-H", "Authorization: Bearer "+token.String(), url)
	if err != nil || !strings.HasSuffix(out, "200") {
		t.Fatalf("%s: %v\n%s", url, err, out)
	}
}

// auditedCalls reads the API server's log: how often the account asked for what,
// and what others of its namespace asked for.
func auditedCalls(t *testing.T, s *scenario.Scenario, account string) (calls map[right]call, other []string) {
	t.Helper()
	all, err := s.Calls(time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	calls = map[right]call{}
	for _, e := range all {
		if slices.ContainsFunc(e.User.Extra["authentication.kubernetes.io/pod-uid"], func(uid string) bool { return earlierPods[uid] }) {
			continue
		}
		if e.User.Username != account {
			other = append(other, e.User.Username+" "+e.Verb+" "+e.RequestURI)
			continue
		}
		if e.ObjectRef.Resource == "" {
			continue // discovery: system:discovery allows that to everybody
		}
		r := right{e.ObjectRef.Namespace, resourceName(e.ObjectRef.APIGroup, e.ObjectRef.Resource, e.ObjectRef.Subresource), e.Verb}
		c := calls[r]
		if e.Annotations["authorization.k8s.io/decision"] == "forbid" {
			c.refused++
		} else {
			c.allowed++
		}
		calls[r] = c
	}
	return calls, other
}

// rightsOf lists what the roles that are bound to a service account allow.
func rightsOf(ctx context.Context, s *scenario.Scenario, account, namespace string) ([]right, error) {
	bound := func(subjects []rbacv1.Subject) bool {
		return slices.ContainsFunc(subjects, func(x rbacv1.Subject) bool {
			return x.Kind == rbacv1.ServiceAccountKind && x.Name == account && x.Namespace == namespace
		})
	}
	var everywhere rbacv1.ClusterRoleBindingList
	var within rbacv1.RoleBindingList
	if err := s.List(ctx, &everywhere); err != nil {
		return nil, err
	}
	if err := s.List(ctx, &within); err != nil {
		return nil, err
	}
	var out []right
	for _, b := range everywhere.Items {
		if bound(b.Subjects) {
			rules, err := rulesOf(ctx, s, b.RoleRef, "")
			if err != nil {
				return nil, err
			}
			out = append(out, expand("", rules)...)
		}
	}
	for _, b := range within.Items {
		if bound(b.Subjects) {
			rules, err := rulesOf(ctx, s, b.RoleRef, b.Namespace)
			if err != nil {
				return nil, err
			}
			out = append(out, expand(b.Namespace, rules)...)
		}
	}
	slices.SortFunc(out, func(a, b right) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.resource, b.resource), strings.Compare(a.verb, b.verb))
	})
	return slices.Compact(out), nil
}

func rulesOf(ctx context.Context, s *scenario.Scenario, ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	if ref.Kind == "ClusterRole" {
		var role rbacv1.ClusterRole
		err := s.Get(ctx, client.ObjectKey{Name: ref.Name}, &role)
		return role.Rules, err
	}
	var role rbacv1.Role
	err := s.Get(ctx, client.ObjectKey{Namespace: namespace, Name: ref.Name}, &role)
	return role.Rules, err
}

func expand(namespace string, rules []rbacv1.PolicyRule) []right {
	var out []right
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					main, sub, _ := strings.Cut(resource, "/")
					out = append(out, right{namespace, resourceName(group, main, sub), verb})
				}
			}
		}
	}
	return out
}

// printRights prints the rights of each resource with how often each was used;
// a star is at those that were not used and do not need to be.
func printRights(t *testing.T, rights []right, used map[right]call) {
	t.Helper()
	var table strings.Builder
	var last right
	unusedCount := 0
	for _, r := range rights {
		if r.resource != last.resource || r.namespace != last.namespace {
			where := "all namespaces"
			if r.namespace != "" {
				where = r.namespace
			}
			fmt.Fprintf(&table, "\n%-56s %-16s", r.resource, where)
		}
		last = r
		fmt.Fprintf(&table, " %s=%d", r.verb, used[r].allowed)
		if used[r].allowed == 0 {
			unusedCount++
			table.WriteString("*")
		}
	}
	t.Logf("%d rights, %d of them unused:%s", len(rights), unusedCount, table.String())
}
