//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/cluster/witness"
)

// heldNamespace has one machine, "held", whose starts are watched.
const heldNamespace = "held"

const heldYAML = `
apiVersion: v1
kind: Namespace
metadata: {name: held, labels: {istio-injection: enabled}}
---
apiVersion: meshvm.io/v1alpha1
kind: MeshedVirtualMachine
metadata: {name: held, namespace: held}
spec:
  virtualMachine:
    runStrategy: Always
    template:
      spec:
        evictionStrategy: LiveMigrate
        terminationGracePeriodSeconds: 0
        domain:
          memory: {guest: 256Mi}
          devices: {}
          firmware:
            kernelBoot:
              kernelArgs: console=ttyS0 panic=-1
              container: {image: "localhost/meshvm/guest:dev", kernelPath: /boot/vmlinuz, initrdPath: /boot/initrd}
  ports:
  - {name: http, port: 80, targetPort: 8080, appProtocol: http}
`

// held is the machine with a witness of one of its starts.
type held struct {
	*testing.T
	*scenario.Scenario
	ctx context.Context //nolint:containedctx // One start is one test, and this is its time.
	*witness.Witness
}

// TestGate has the guest start in every way that there is. In none of them may
// there be a frame from or to it before the rules of its pod were verified, nor
// the pod in its Service's endpoints.
func TestGate(t *testing.T) {
	s := start(t)
	if err := s.DeployOperator(testContext(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	for _, way := range []struct {
		name string
		run  func(h *held)
	}{
		{"start", func(h *held) { h.apply(); h.awaitGuest(h.pod("")) }},
		{"restart", func(h *held) { h.await(h.restart(), witness.InEndpoints) }},
		{"kubelet restart while the gate is shut", (*held).kubeletRestart},
		{"live migration", (*held).migrate},
		{"eviction", (*held).evict},
		{"node crash and return", (*held).crash},
		{"the table is lost", (*held).lose},
	} {
		if !t.Run(way.name, func(t *testing.T) { watched(t, s, way.run) }) {
			return
		}
	}
}

// watched runs a start under a witness and judges what that saw.
func watched(t *testing.T, s *scenario.Scenario, run func(h *held)) {
	t.Helper()
	ctx := testContext(t, 6*time.Minute)
	w, err := witness.Start(ctx, witness.Options{Kubeconfig: s.Kubeconfig, Namespace: heldNamespace, PID: s.PodPID, GuestPort: 8080})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		w.Stop()
		var out strings.Builder
		if err := w.Timeline(&out); err != nil {
			t.Error(err)
		}
		t.Logf("timeline:\n%s%s", out.String(), w.Summary())
		for _, v := range w.Violations() {
			t.Error(v)
		}
	}()
	run(&held{T: t, Scenario: s, ctx: ctx, Witness: w})
}

func (h *held) apply() {
	if err := h.ApplyManifest(h.ctx, []byte(heldYAML)); err != nil {
		h.Fatal(err)
	}
}

// pod waits for a virt-launcher pod other than the given one.
func (h *held) pod(not types.UID) types.UID {
	var found types.UID
	await(h.ctx, h.T, "a new virt-launcher pod", func() bool {
		for _, uid := range h.Pods() {
			if uid != not && h.Find(uid, witness.Gone) == nil {
				found = uid
			}
		}
		return found != ""
	})
	return found
}

func (h *held) await(uid types.UID, what string) {
	await(h.ctx, h.T, what, func() bool { return h.Find(uid, what) != nil })
}

// awaitGuest waits until the guest answers and others may reach it.
func (h *held) awaitGuest(uid types.UID) {
	h.await(uid, witness.GuestAnswers)
	h.await(uid, witness.InEndpoints)
}

func (h *held) object(kind, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("kubevirt.io/v1")
	u.SetKind(kind)
	u.SetNamespace(heldNamespace)
	u.SetName(name)
	return u
}

// restart deletes the instance, which KubeVirt makes anew, and returns its pod.
func (h *held) restart() types.UID {
	old := h.pod("")
	if err := h.Delete(h.ctx, h.object("VirtualMachineInstance", heldNamespace)); err != nil {
		h.Fatal(err)
	}
	return h.pod(old)
}

// patch changes the MeshedVirtualMachine.
func (h *held) patch(text string) {
	u := h.object("MeshedVirtualMachine", heldNamespace)
	u.SetAPIVersion(v1alpha1.GroupVersion.String())
	if err := h.Patch(h.ctx, u, client.RawPatch(types.MergePatchType, []byte(text))); err != nil {
		h.Fatal(err)
	}
}

func (h *held) nodeOf(uid types.UID) string {
	var p corev1.Pod
	if err := h.Get(h.ctx, client.ObjectKey{Namespace: heldNamespace, Name: h.Find(uid, witness.Created).Object}, &p); err != nil {
		h.Fatal(err)
	}
	return p.Spec.NodeName
}

// kubeletRestart keeps the operator from writing rules, and restarts the kubelet
// under a pod that waits for them. The kubelet may then refuse the pod, when
// KubeVirt's devices are not back yet; KubeVirt makes another, which waits too.
func (h *held) kubeletRestart() {
	old := h.pod("")
	h.patch(`{"metadata":{"annotations":{"meshvm.io/paused":"true"}}}`)
	pod := h.restart()
	h.await(pod, "container meshvm-gate runs")
	if err := h.RestartServer(h.ctx, h.nodeOf(pod), "kubelet"); err != nil {
		h.Fatal(err)
	}
	// Nothing must happen now, however long one waits.
	time.Sleep(10 * time.Second)
	for _, uid := range h.Pods() {
		if e := h.Find(uid, "container compute runs"); e != nil && uid != old {
			h.Errorf("%s: the guest's container was started behind a shut gate", e.Object)
		}
	}
	h.patch(`{"metadata":{"annotations":{"meshvm.io/paused":null}}}`)
	await(h.ctx, h.T, "a pod in the endpoints", func() bool {
		for _, uid := range h.Pods() {
			if uid != old && h.Find(uid, witness.InEndpoints) != nil {
				return true
			}
		}
		return false
	})
}

// moved waits until a migration has ended in a new pod and the old one is gone
// with its PodNATConfiguration.
func (h *held) moved(old types.UID) {
	target := h.pod(old)
	h.await(target, witness.InEndpoints)
	h.await(old, witness.NATGone)
	verified, runs := h.Find(target, witness.Verified), h.Find(target, "container compute runs")
	if verified == nil || runs == nil || verified.At.After(runs.At) {
		h.Error("the target's rules were not verified before its guest's container ran")
	}
}

func (h *held) migrate() {
	old := h.pod("")
	m := h.object("VirtualMachineInstanceMigration", fmt.Sprintf("held-%d", time.Now().Unix()))
	m.Object["spec"] = map[string]any{"vmiName": heldNamespace}
	if err := h.Create(h.ctx, m); err != nil {
		h.Fatal(err)
	}
	h.moved(old)
}

func (h *held) evict() {
	old := h.pod("")
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = heldNamespace, h.Find(old, witness.Created).Object
	err := h.SubResource("eviction").Create(h.ctx, pod, &policyv1.Eviction{})
	// KubeVirt refuses the eviction, for now, and moves the guest away.
	if err != nil && !apierrors.IsTooManyRequests(err) {
		h.Fatal(err)
	}
	h.moved(old)
}

// crash ends the second node, with the guest on it, and brings it back.
func (h *held) crash() {
	const first, second = "node1", "node2"
	schedulable := func(yes bool) {
		n := &corev1.Node{}
		n.Name = first
		if err := h.Patch(h.ctx, n, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, !yes))); err != nil {
			h.Fatal(err)
		}
	}
	schedulable(false)
	defer schedulable(true)
	pod := h.restart()
	h.await(pod, witness.InEndpoints)
	if on := h.nodeOf(pod); on != second {
		h.Fatalf("the pod is on %s", on)
	}
	if err := h.StopNode(second); err != nil {
		h.Fatal(err)
	}
	if err := h.StartNode(h.ctx, second); err != nil {
		h.Fatal(err)
	}
	h.await(h.pod(pod), witness.InEndpoints)
}

// lose takes the table away from a running guest: the pod leaves the endpoints by
// the kubelet's doing, and comes back when the rules were written again.
func (h *held) lose() {
	pod := h.pod("")
	begin := time.Now()
	if _, err := h.PodNetnsExec(h.ctx, string(pod), "nft", "delete", "table", nftrules.FamilyInet, nftrules.TableName); err != nil {
		h.Fatal(err)
	}
	h.await(pod, witness.OutEndpoints)
	h.Logf("out of the endpoints %.1f s after the table was deleted", time.Since(begin).Seconds())
	h.patch(`{"spec":{"capture":{"outbound":{"excludePorts":[{"port":7777}]}}}}`)
	await(h.ctx, h.T, "the pod to be back in the endpoints", func() bool {
		last := ""
		for _, e := range h.Events() {
			if e.UID == pod && (e.What == witness.InEndpoints || e.What == witness.OutEndpoints) {
				last = e.What
			}
		}
		return last == witness.InEndpoints
	})
}
