// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"

	"meshvm.io/meshvm/test/cluster/programs/flow"
	"meshvm.io/meshvm/test/e2e/suite"
)

const migrationYAML = `
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstanceMigration
metadata: {name: %s, namespace: %s}
spec: {vmiName: two}
`

// timeline prints lines with the milliseconds since its start.
type timeline struct {
	*suite.T
	begin time.Time
}

func (l timeline) add(format string, args ...any) {
	l.Logf("%6d ms  %s", time.Since(l.begin).Milliseconds(), fmt.Sprintf(format, args...))
}

// migration moves a running guest to the other node, with an open connection in
// each direction through the mesh. Both connections end (docs/migration.md), and
// the rules of the target pod must be verified before the guest arrives.
func migration(t *suite.T) {
	p := newPair(t, "migration")
	ctx := t.Limit(10 * time.Minute)
	source := p.two
	instance := p.InstanceUID(ctx, t, "two")

	_, err := p.From(ctx, p.Clients.Inside, "hold", "in", "two:9100")
	t.NoError(err)
	address := net.JoinHostPort(p.Clients.Outside.Status.PodIP, "7100")
	out := url.Values{"name": {"out"}, "addr": {address}}
	if r := guestFlow(ctx, t, p.Machines, "two", "hold", out); r.Error != "" {
		t.Fatalf("guest two's connection to %s: %+v", address, r)
	}

	name := fmt.Sprintf("two-%d", time.Now().Unix())
	line := timeline{t, time.Now()}
	t.NoError(p.ApplyManifest(ctx, fmt.Appendf(nil, migrationYAML, name, p.SampleNamespace())))
	target := p.watchMigration(ctx, line, name)
	if target.Spec.NodeName == source.Spec.NodeName {
		t.Errorf("the guest is still on %s", target.Spec.NodeName)
	}
	t.CheckSkew(ctx, p.Scenario, target)
	p.AwaitGuest(ctx, t, "two")
	line.add("the guest answers the client in the mesh through its Service, from %s", target.Spec.NodeName)
	if now := p.InstanceUID(ctx, t, "two"); now != instance {
		t.Errorf("the VirtualMachineInstance has the UID %s, before the migration %s", now, instance)
	}
	if _, err := p.NATTable(ctx, string(target.UID)); err != nil {
		t.Errorf("the target pod has no table: %v", err)
	}
	if got := p.getFromGuest(ctx, t, "http://"+p.twoHost()+"/"); got.Code != 200 && !p.StandIn(p.one) {
		t.Errorf("the answer of guest two to guest one after the migration: %+v", got)
	}
	t.Await(ctx, "the PodNATConfiguration of the source pod to be deleted", func() bool {
		for _, i := range p.NATObjects(ctx, t) {
			if uid, _, _ := unstructured.NestedString(i.Object, "spec", "pod", "uid"); uid == string(source.UID) {
				return false
			}
		}
		return true
	})
	line.add("the PodNATConfiguration of the source pod is deleted")
	p.awaitConnectionsEnd(ctx, line, out)
	t.Await(ctx, "the migration to succeed", func() bool { return p.migrationPhase(ctx, t, name) == "Succeeded" })
	line.add("migration: Succeeded")
}

// awaitConnectionsEnd waits until the connections from before the migration have
// ended.
func (p *pair) awaitConnectionsEnd(ctx context.Context, line timeline, out url.Values) {
	line.Helper()
	var inbound, outbound flow.Report
	line.Await(ctx, "both connections to end", func() bool {
		text, err := p.From(ctx, p.Clients.Inside, "held", "in")
		line.NoError(err)
		if err := json.Unmarshal([]byte(text), &inbound); err != nil {
			line.Fatalf("report of the connection to the guest: %q: %v", text, err)
		}
		outbound = guestFlow(ctx, line.T, p.Machines, "two", "held", out)
		return inbound.Error != "" && outbound.Error != ""
	})
	line.add("connection of a client in the mesh to the guest: %+v", inbound)
	line.add("connection of the guest to the client outside, through its proxy: %+v", outbound)
}

func (p *pair) migrationPhase(ctx context.Context, t *suite.T, name string) string {
	t.Helper()
	m := suite.KubeVirtObject("VirtualMachineInstanceMigration", p.Key(name))
	t.NoError(p.Get(ctx, p.Key(name), m))
	phase, _, _ := unstructured.NestedString(m.Object, "status", "phase")
	if phase == "Failed" {
		t.Fatalf("the migration failed: %v", m.Object["status"])
	}
	return phase
}

// watchMigration prints the phases and the roles of the pods until the target pod
// is the only pod of the machine and has rules. It returns that pod. Rules must be
// verified in each pod that has the guest.
func (p *pair) watchMigration(ctx context.Context, line timeline, name string) *corev1.Pod {
	line.Helper()
	var last, roles string
	seen := map[v1alpha1.PodRole]bool{}
	target := &corev1.Pod{}
	line.Await(ctx, "migration "+name, func() bool {
		if phase := p.migrationPhase(ctx, line.T, name); phase != last {
			line.add("migration: %s", phase)
			last = phase
		}
		m, err := p.Machine(ctx, p.Key("two"))
		line.NoError(err)
		var words []string
		for _, pod := range m.Status.Pods {
			words = append(words, fmt.Sprintf("%s on %s (rules verified: %s)", pod.Role, pod.Node, pod.Programmed))
			seen[pod.Role] = true
			if pod.Role == v1alpha1.PodRoleActive && pod.Programmed != "True" {
				line.Errorf("pod %s has the guest while its rules are not verified", pod.Name)
			}
		}
		if now := strings.Join(words, ", "); now != roles {
			line.add("status.pods: %s", now)
			roles = now
		}
		if len(m.Status.Pods) != 1 {
			return false
		}
		pod := m.Status.Pods[0]
		return pod.Programmed == "True" && p.Get(ctx, p.Key(pod.Name), target) == nil && target.UID != p.two.UID
	})
	for _, role := range []v1alpha1.PodRole{v1alpha1.PodRoleMigrationSource, v1alpha1.PodRoleMigrationTarget} {
		if !seen[role] {
			line.Errorf("status.pods never had a pod with the role %s", role)
		}
	}
	return target
}
