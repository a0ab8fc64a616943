// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/e2e/suite"
)

// removal follows the section Removal of docs/install.md that keeps the machines, in the
// namespace of the test: the MeshedVirtualMachine and then the PodNATConfigurations are
// deleted. The guest keeps running, its pod has no rules and leaves the endpoints of the
// Service, and after a restart the guest answers without the operator.
func removal(t *suite.T) {
	ms := t.Machines("removal", suite.Machine{Name: "one"})
	ctx := t.Limit(8 * time.Minute)
	t.DeleteAfter(suite.KubeVirtObject("VirtualMachine", ms.Key("one"))) // It has no owner then.
	instance := ms.InstanceUID(ctx, t, "one")
	pod := ms.Pods["one"]
	for _, args := range [][]string{
		{"delete", "meshedvirtualmachines.meshvm.io", "--all", "--cascade=orphan"},
		{"delete", "podnatconfigurations.meshvm.io", "--all", "--timeout=2m"},
	} {
		var out strings.Builder
		begin := time.Now()
		if err := ms.Kubectl(ctx, cluster.Stdio{Out: &out, Err: &out}, append([]string{"-n", ms.SampleNamespace()}, args...)...); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out.String())
		}
		t.Logf("kubectl %s: %.1f s: %s", strings.Join(args, " "), time.Since(begin).Seconds(), strings.TrimSpace(out.String()))
	}
	if left := ms.NATObjects(ctx, t); len(left) > 0 {
		t.Errorf("%d PodNATConfigurations remain", len(left))
	}
	tables, err := ms.PodNetnsExec(ctx, string(pod.UID), "nft", "list", "tables")
	t.NoError(err)
	if strings.Contains(tables, "meshvm") {
		t.Errorf("the pod still has the table of the operator:\n%s", tables)
	}
	if now := ms.InstanceUID(ctx, t, "one"); now != instance {
		t.Errorf("the guest was replaced: the VirtualMachineInstance has UID %s, before %s", now, instance)
	}
	t.Await(ctx, "the pod without rules to leave the endpoints", func() bool {
		live := &corev1.Pod{}
		t.NoError(ms.Get(ctx, client.ObjectKeyFromObject(pod), live))
		return !slices.ContainsFunc(live.Status.Conditions, func(c corev1.PodCondition) bool {
			return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
		})
	})

	t.NoError(ms.Delete(ctx, suite.KubeVirtObject("VirtualMachineInstance", ms.Key("one"))))
	begin := time.Now()
	t.Await(ctx, "KubeVirt to start the guest again", func() bool {
		u := suite.KubeVirtObject("VirtualMachineInstance", ms.Key("one"))
		err := ms.Get(ctx, ms.Key("one"), u)
		return err == nil && u.GetUID() != instance && u.GetUID() != types.UID("")
	})
	ms.AwaitGuest(ctx, t, "one")
	t.Logf("the restarted guest answers without the operator after %.1f s", time.Since(begin).Seconds())
	var pods corev1.PodList
	t.NoError(ms.List(ctx, &pods, client.InNamespace(ms.SampleNamespace()), client.MatchingLabels{kubevirtv1.AppLabel: "virt-launcher"}))
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.UID != pod.UID && slices.ContainsFunc(p.Spec.InitContainers, func(c corev1.Container) bool { return strings.HasPrefix(c.Name, "meshvm-gate") }) {
			t.Errorf("pod %s of the guest without a MeshedVirtualMachine has the start gate", p.Name)
		}
	}
}
