// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// unusedReason is the reason why the operator has permissions that these tests do
// not use, or not in every run.
type unusedReason struct {
	verb      string
	resources *regexp.Regexp
	reason    string
}

var unusedReasons = []unusedReason{
	{"list", regexp.MustCompile(`.`), "an informer lists if the API server does not stream lists (Kubernetes before 1.34) or rejects a streaming request"},
	{"create", regexp.MustCompile(`^(services|(virtualmachines\.kubevirt|podnatconfigurations\.meshvm|.*\.istio)\.io)$`), "server-side apply that creates an object is authorized for create, but logged as patch"},
	{"delete", regexp.MustCompile(`^(services|podnatconfigurations\.meshvm\.io|.*\.istio\.io)$`), "an object that is no longer needed is deleted; these tests do not contain such a change for each kind"},
	{"update", regexp.MustCompile(`^meshedvirtualmachines/finalizers\.meshvm\.io$`), "no request: OpenShift requires it from a client that sets blockOwnerDeletion (OwnerReferencesPermissionEnforcement)"},
	{"patch", regexp.MustCompile(`^events\.events\.k8s\.io$`), "a repeated event is counted in the object of the first event"},
}

func (u unusedReason) matches(p permission) bool {
	return u.verb == p.verb && u.resources.MatchString(p.resource)
}

func mayBeUnused(p permission) bool {
	return slices.ContainsFunc(unusedReasons, func(u unusedReason) bool { return u.matches(p) })
}

// permission is one verb on one resource, in one namespace, or in all if the
// namespace is empty.
type permission struct{ namespace, resource, verb string }

func (p permission) String() string {
	where := "cluster"
	if p.namespace != "" {
		where = p.namespace
	}
	return fmt.Sprintf("%s %s in %s", p.verb, p.resource, where)
}

// resourceName returns resource/subresource with its group.
func resourceName(group, resource, subresource string) string {
	if subresource != "" {
		resource += "/" + subresource
	}
	if group != "" {
		resource += "." + group
	}
	return resource
}

// callCount counts requests for one permission.
type callCount struct{ allowed, refused int }

// checkPermissions compares the operator's requests in all tests with its roles.
// After a complete run, it also checks that each permission was used.
func (t *T) checkPermissions(complete bool) {
	t.Helper()
	if !complete && !t.Suite.operatorIs(operatorDeployed) {
		_, other := t.auditedCalls()
		t.reportOtherAccounts(other)
		t.Log("the permissions are not checked, because this run does not contain all tests and ended without the operator")
		return
	}
	t.Operator()
	ctx := t.Limit(2 * time.Minute)
	t.scrape(ctx)
	calls, other := t.auditedCalls()
	t.reportOtherAccounts(other)
	permissions, err := permissionsOf(ctx, t.Scenario(), scenario.OperatorDeployment, scenario.OperatorNamespace)
	if err != nil {
		t.Errorf("read the operator's roles: %v", err)
		return
	}
	if len(permissions) == 0 || len(calls) == 0 {
		t.Errorf("found %d permissions and %d kinds of calls of the operator, want more of both", len(permissions), len(calls))
		return
	}
	used := t.usedPermissions(calls, permissions)
	t.printPermissions(permissions, used)
	if !complete {
		t.Log("unused permissions are not reported, because this run does not contain all tests")
		return
	}
	for _, p := range permissions {
		if used[p] == 0 && !mayBeUnused(p) {
			t.Errorf("never used: %s. Remove it from the markers, use it in a test, or add the reason why it is needed to unusedReasons", p)
		}
	}
	for _, u := range unusedReasons {
		if !slices.ContainsFunc(permissions, u.matches) {
			t.Errorf("the operator has no permission to %s %s: remove the reason from unusedReasons: %s", u.verb, u.resources, u.reason)
		}
	}
}

// reportOtherAccounts reports calls by other accounts of the operator's namespace.
func (t *T) reportOtherAccounts(calls []string) {
	t.Helper()
	for _, c := range calls {
		t.Errorf("a call by an account that must not call the API server: %s", c)
	}
}

// usedPermissions counts the calls for each permission. It reports refused calls,
// and calls that are allowed by other roles.
func (t *T) usedPermissions(calls map[permission]callCount, permissions []permission) map[permission]int {
	t.Helper()
	used := map[permission]int{}
	for p, c := range calls {
		if c.refused > 0 {
			t.Errorf("refused %d times: %s", c.refused, p)
		}
		if c.allowed == 0 {
			continue
		}
		if !slices.Contains(permissions, p) {
			p.namespace = "" // allowed in all namespaces
		}
		if !slices.Contains(permissions, p) {
			t.Errorf("allowed, but not by the operator's roles: %s", p)
		}
		used[p] += c.allowed
	}
	return used
}

// scrape reads the manager's metrics like a monitoring system. The manager then
// asks the API server for the identity and the permission of the client.
func (t *T) scrape(ctx context.Context) {
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
	s := t.Scenario()
	t.NoError(s.ApplyManifest(ctx, []byte(account)))
	var token strings.Builder
	t.NoError(s.Kubectl(ctx, cluster.Stdio{Out: &token}, "-n", "default", "create", "token", "scraper"))
	var service corev1.Service
	t.NoError(s.Get(ctx, client.ObjectKey{Namespace: scenario.OperatorNamespace, Name: scenario.OperatorDeployment + "-metrics"}, &service))
	url := "https://" + service.Spec.ClusterIP + ":8443/metrics"
	out, err := s.NodeExec(ctx, t.Managers(ctx)[0].Spec.NodeName, "curl", "-sSk", "--max-time", "10", "-w", "%{http_code}", "-H", "Authorization: Bearer "+token.String(), url)
	if err != nil || !strings.HasSuffix(out, "200") {
		t.Errorf("%s: %v\n%s", url, err, out)
	}
}

// auditedCalls counts the calls of the operator's account in the audit log of the
// API server, and lists the calls of other accounts in its namespace.
func (t *T) auditedCalls() (calls map[permission]callCount, other []string) {
	t.Helper()
	const account = "system:serviceaccount:" + scenario.OperatorNamespace + ":" + scenario.OperatorDeployment
	all, err := t.Scenario().Calls(time.Time{})
	t.NoError(err)
	calls = map[permission]callCount{}
	for _, e := range all {
		if slices.ContainsFunc(e.User.Extra["authentication.kubernetes.io/pod-uid"], func(uid string) bool { return t.Suite.otherManagers[uid] }) {
			continue
		}
		if e.User.Username != account {
			other = append(other, e.User.Username+" "+e.Verb+" "+e.RequestURI)
			continue
		}
		if e.ObjectRef.Resource == "" {
			continue // discovery, which system:discovery allows for all accounts
		}
		p := permission{e.ObjectRef.Namespace, resourceName(e.ObjectRef.APIGroup, e.ObjectRef.Resource, e.ObjectRef.Subresource), e.Verb}
		c := calls[p]
		if e.Annotations["authorization.k8s.io/decision"] == "forbid" {
			c.refused++
		} else {
			c.allowed++
		}
		calls[p] = c
	}
	return calls, other
}

// printPermissions prints the permissions with the number of calls. A star marks
// permissions that were not used.
func (t *T) printPermissions(permissions []permission, used map[permission]int) {
	t.Helper()
	var table strings.Builder
	var last permission
	unused := 0
	for _, p := range permissions {
		if p.resource != last.resource || p.namespace != last.namespace {
			where := "all namespaces"
			if p.namespace != "" {
				where = p.namespace
			}
			fmt.Fprintf(&table, "\n%-56s %-16s", p.resource, where)
		}
		last = p
		fmt.Fprintf(&table, " %s=%d", p.verb, used[p])
		if used[p] == 0 {
			unused++
			table.WriteString("*")
		}
	}
	t.Logf("%d permissions, %d of them unused:%s", len(permissions), unused, table.String())
}

// permissionsOf lists the permissions of the roles that are bound to a service
// account.
func permissionsOf(ctx context.Context, s *scenario.Scenario, account, namespace string) ([]permission, error) {
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
	var out []permission
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
	slices.SortFunc(out, func(a, b permission) int {
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

func expand(namespace string, rules []rbacv1.PolicyRule) []permission {
	var out []permission
	for _, rule := range rules {
		for _, group := range rule.APIGroups {
			for _, resource := range rule.Resources {
				for _, verb := range rule.Verbs {
					name, sub, _ := strings.Cut(resource, "/")
					out = append(out, permission{namespace, resourceName(group, name, sub), verb})
				}
			}
		}
	}
	return out
}
