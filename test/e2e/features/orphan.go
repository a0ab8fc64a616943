// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/startgate"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/e2e/suite"
)

// orphan deletes a machine with deletionPolicy Orphan. The VirtualMachine, the running
// guest and its pod remain without the operator's rules and labels, and the next pod of
// the guest has no start gate.
func orphan(t *suite.T) {
	ms := t.Machines("orphan", suite.Machine{Name: "one"})
	ctx := t.Limit(8 * time.Minute)
	t.DeleteAfter(suite.KubeVirtObject("VirtualMachine", ms.Key("one"))) // It has no owner then.
	vm := suite.KubeVirtObject("VirtualMachine", ms.Key("one"))
	t.NoError(ms.Get(ctx, ms.Key("one"), vm))
	instance, pod := ms.InstanceUID(ctx, t, "one"), ms.Pods["one"]
	kubectl := func(args ...string) {
		var out strings.Builder
		begin := time.Now()
		if err := ms.Kubectl(ctx, cluster.Stdio{Out: &out, Err: &out}, append([]string{"-n", ms.SampleNamespace()}, args...)...); err != nil {
			t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out.String())
		}
		t.Logf("kubectl %s: %.1f s: %s", strings.Join(args, " "), time.Since(begin).Seconds(), strings.TrimSpace(out.String()))
	}
	kubectl("patch", "mvm", "one", "--type=merge", "-p", `{"spec":{"deletionPolicy":"Orphan"}}`)
	t.Await(ctx, "the VirtualMachine to have no owner", func() bool {
		live := suite.KubeVirtObject("VirtualMachine", ms.Key("one"))
		t.NoError(ms.Get(ctx, ms.Key("one"), live))
		return len(live.GetOwnerReferences()) == 0
	})
	kubectl("delete", "mvm", "one", "--cascade=foreground", "--timeout=3m")

	if left := ms.NATObjects(ctx, t); len(left) > 0 {
		t.Errorf("%d PodNATConfigurations remain", len(left))
	}
	tables, err := ms.PodNetnsExec(ctx, string(pod.UID), "nft", "list", "tables")
	t.NoError(err)
	if strings.Contains(tables, "meshvm") {
		t.Errorf("the pod still has the table of the operator:\n%s", tables)
	}
	if err := ms.Get(ctx, ms.Key("one"), &corev1.Service{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Service was not deleted: %v", err)
	}
	live := suite.KubeVirtObject("VirtualMachine", ms.Key("one"))
	t.NoError(ms.Get(ctx, ms.Key("one"), live))
	if live.GetUID() != vm.GetUID() || !live.GetDeletionTimestamp().IsZero() {
		t.Errorf("the VirtualMachine was replaced or is being deleted: UID %s, before %s", live.GetUID(), vm.GetUID())
	}
	for key := range live.GetLabels() {
		if strings.HasPrefix(key, "meshvm.io/") {
			t.Errorf("the VirtualMachine still has the label %s", key)
		}
	}
	for _, m := range live.GetManagedFields() {
		if m.Manager == v1alpha1.FieldOwner {
			t.Error("the operator is still a field manager of the VirtualMachine")
		}
	}
	if now := ms.InstanceUID(ctx, t, "one"); now != instance {
		t.Errorf("the guest was replaced: the VirtualMachineInstance has UID %s, before %s", now, instance)
	}
	t.NoError(ms.Get(ctx, client.ObjectKeyFromObject(pod), pod))
	if pod.Status.Phase != corev1.PodRunning || !pod.DeletionTimestamp.IsZero() {
		t.Errorf("the pod is %s, being deleted: %t", pod.Status.Phase, !pod.DeletionTimestamp.IsZero())
	}
	restartWithoutOperator(t, ms, instance)
}

// restartWithoutOperator restarts the guest of a released VirtualMachine. Its pod has no
// start gate, and it answers through a Service of the user.
func restartWithoutOperator(t *suite.T, ms *suite.Machines, instance types.UID) {
	t.Helper()
	ctx := t.Limit(6 * time.Minute)
	t.NoError(ms.Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: ms.SampleNamespace(), Name: "one"},
		Spec: corev1.ServiceSpec{
			Selector: map[string]string{kubevirtv1.VirtualMachineInstanceIDLabel: "one"},
			Ports:    []corev1.ServicePort{{Name: "http", Port: 80, TargetPort: intstr.FromInt32(8080)}},
		},
	}))
	t.NoError(ms.Delete(ctx, suite.KubeVirtObject("VirtualMachineInstance", ms.Key("one"))))
	begin := time.Now()
	t.Await(ctx, "KubeVirt to start the guest again", func() bool {
		u := suite.KubeVirtObject("VirtualMachineInstance", ms.Key("one"))
		err := ms.Get(ctx, ms.Key("one"), u)
		return err == nil && u.GetUID() != instance && u.GetUID() != ""
	})
	ms.AwaitGuest(ctx, t, "one")
	t.Logf("the restarted guest answers without the operator after %.1f s", time.Since(begin).Seconds())
	now := ms.InstanceUID(ctx, t, "one")
	var pods corev1.PodList
	t.NoError(ms.List(ctx, &pods, client.InNamespace(ms.SampleNamespace()), client.MatchingLabels{kubevirtv1.CreatedByLabel: string(now)}))
	if len(pods.Items) == 0 {
		t.Error("the restarted guest has no pod")
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; startgate.HasGate(p) || p.Labels[v1alpha1.LabelMeshedVirtualMachine] != "" {
			t.Errorf("pod %s of the released guest has a start gate: %t, labels %v", p.Name, startgate.HasGate(p), p.Labels)
		}
	}
}
