// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"

	"meshvm.io/meshvm/test/cluster/programs/flow"
)

const migrationYAML = `
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstanceMigration
metadata: {name: %s, namespace: ` + meshNamespace + `}
spec: {vmiName: %s}
`

// TestMigration moves a running guest to the other node, with a connection open
// in each direction through the mesh: both end, as docs/migration.md shows users,
// and the target's rules are verified before the guest arrives.
func TestMigration(t *testing.T) {
	p := machines(t)
	ctx := testContext(t, 10*time.Minute)
	source := p.two
	vmi := p.vmi(ctx, t, "two")

	if _, err := p.From(ctx, p.clients.Inside, "hold", "in", "two:9100"); err != nil {
		t.Fatal(err)
	}
	address := net.JoinHostPort(p.clients.Outside.Status.PodIP, "7100")
	out := url.Values{"name": {"out"}, "addr": {address}}
	if r := p.heldByGuest(ctx, t, "two", "hold", out); r.Error != "" {
		t.Fatalf("guest two's connection to %s: %+v", address, r)
	}

	name := fmt.Sprintf("two-%d", time.Now().Unix())
	begin := time.Now()
	line := func(format string, args ...any) {
		t.Logf("%6d ms  %s", time.Since(begin).Milliseconds(), fmt.Sprintf(format, args...))
	}
	if err := p.ApplyManifest(ctx, fmt.Appendf(nil, migrationYAML, name, "two")); err != nil {
		t.Fatal(err)
	}
	target := p.watchMigration(ctx, t, name, line)
	if target.Spec.NodeName == source.Spec.NodeName {
		t.Errorf("the guest is still on %s", target.Spec.NodeName)
	}
	p.two = target
	checkSkew(ctx, t, p.Scenario, target)
	p.awaitGuest(ctx, t, "two")
	line("the guest answers the meshed client by its Service, from %s", target.Spec.NodeName)
	if now := p.vmi(ctx, t, "two"); now != vmi {
		t.Errorf("the migration made a new machine: %s, before %s", now, vmi)
	}
	if _, err := p.NATTable(ctx, string(target.UID)); err != nil {
		t.Errorf("the target pod has no rules: %v", err)
	}
	if got := p.guestGets(ctx, t, "http://"+twoHost+"/"); got.Code != 200 && !p.StandIn(p.one) {
		t.Errorf("guest one asked two after the migration: %+v", got)
	}
	await(ctx, t, "the source pod's NAT object to go", func() bool {
		for _, i := range p.natObjects(ctx, t) {
			if uid, _, _ := apimeta.NestedString(i.Object, "spec", "pod", "uid"); uid == string(source.UID) {
				return false
			}
		}
		return true
	})
	line("the source pod's PodNATConfiguration is gone")

	var in, guests flow.Report
	await(ctx, t, "both connections to end", func() bool {
		in = p.held(ctx, t, func(ctx context.Context, name string) (string, error) {
			return p.From(ctx, p.clients.Inside, "held", name)
		}, "in")
		guests = p.heldByGuest(ctx, t, "two", "held", out)
		return in.Error != "" && guests.Error != ""
	})
	line("connection of a meshed client to the guest: %+v", in)
	line("connection of the guest to the outside, through its proxy: %+v", guests)
	await(ctx, t, "KubeVirt to call the migration done", func() bool { return p.migrationPhase(ctx, t, name) == "Succeeded" })
	line("migration: Succeeded")
}

func (p *pair) migrationPhase(ctx context.Context, t *testing.T, name string) string {
	t.Helper()
	m := &apimeta.Unstructured{}
	m.SetAPIVersion("kubevirt.io/v1")
	m.SetKind("VirtualMachineInstanceMigration")
	if err := p.Get(ctx, meshKey(name), m); err != nil {
		t.Fatal(err)
	}
	phase, _, _ := apimeta.NestedString(m.Object, "status", "phase")
	if phase == "Failed" {
		t.Fatalf("the migration failed: %v", m.Object["status"])
	}
	return phase
}

// watchMigration notes the phases and roles until the target pod is the machine's
// only one, with rules. It returns that pod. No pod may have the guest before its
// rules were verified.
func (p *pair) watchMigration(ctx context.Context, t *testing.T, name string, line func(string, ...any)) *corev1.Pod {
	t.Helper()
	var last, roles string
	seen := map[v1alpha1.PodRole]bool{}
	target := &corev1.Pod{}
	await(ctx, t, "migration "+name, func() bool {
		phase := p.migrationPhase(ctx, t, name)
		if phase != last {
			line("migration: %s", phase)
			last = phase
		}
		mvm, err := p.Machine(ctx, meshKey("two"))
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, pod := range mvm.Status.Pods {
			words = append(words, fmt.Sprintf("%s on %s (rules verified: %s)", pod.Role, pod.Node, pod.Programmed))
			seen[pod.Role] = true
			if pod.Role == v1alpha1.PodRoleActive && pod.Programmed != "True" {
				t.Errorf("pod %s has the guest while its rules are not verified", pod.Name)
			}
		}
		if now := strings.Join(words, ", "); now != roles {
			line("status.pods: %s", now)
			roles = now
		}
		if len(mvm.Status.Pods) != 1 {
			return false
		}
		pod := mvm.Status.Pods[0]
		return pod.Programmed == "True" && p.Get(ctx, meshKey(pod.Name), target) == nil && target.UID != p.two.UID
	})
	for _, role := range []v1alpha1.PodRole{v1alpha1.PodRoleMigrationSource, v1alpha1.PodRoleMigrationTarget} {
		if !seen[role] {
			t.Errorf("status.pods never had a pod with the role %s", role)
		}
	}
	return target
}
