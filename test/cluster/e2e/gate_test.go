// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nftrules"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/witness"
)

// TestGate has the guest start in every way that there is. In none of them may
// there be a frame from or to it before the rules of its pod were verified, nor
// the pod in its Service's endpoints. The last is the opposite: the same witness
// sees the frames of a guest that nothing delays.
func TestGate(t *testing.T) {
	s := start(t)
	if err := s.DeployOperator(testContext(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeHeld(t, s) }) // it would run in parallel to all later tests
	for _, way := range []struct {
		name string
		run  func(h *held)
	}{
		{"start", func(h *held) { h.apply(); h.awaitGuest(h.pod("")) }},
		{"restart", func(h *held) { h.awaitGuest(h.restart()) }},
		{"kubelet restart while the gate is shut", (*held).kubeletRestart},
		{"live migration", (*held).migrate},
		{"live migration behind a shut gate", (*held).migrateShut},
		{"eviction", (*held).evict},
		{"node crash and return", (*held).crash},
		{"the table is lost", (*held).lose},
		{"nothing delays the guest", (*held).free},
	} {
		t.Run(way.name, func(t *testing.T) {
			if way.name == "start" {
				removeHeld(t, s)
			} else {
				awaitHeld(t, s)
			}
			watched(t, s, way.run)
		})
	}
}

// holdRules keeps the operator from writing rules until the function that it
// returns is called. That function also works after the test has failed or its time
// is over.
func (h *held) holdRules() (release func()) {
	h.patch(`{"metadata":{"annotations":{"meshvm.io/paused":"true"}}}`)
	return sync.OnceFunc(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(h.ctx), time.Minute)
		defer cancel()
		if err := h.tryPatch(ctx, `{"metadata":{"annotations":{"meshvm.io/paused":null}}}`); err != nil {
			h.Errorf("unpause the machine: %v", err)
		}
	})
}

// staysShut has the kubelet go over a pod whose gate is shut, twice and wholly: it
// would start what it can start. Each time it reports by the generation that it saw
// that it has begun (KEP-5067), and with the third that the second is over. A pod
// that the kubelet has ended instead starts nothing either.
func (h *held) staysShut(uid types.UID) {
	key := client.ObjectKey{Namespace: heldNamespace, Name: h.Find(uid, witness.Created).Object}
	for n := range 3 {
		p := &corev1.Pod{}
		p.Namespace, p.Name = key.Namespace, key.Name
		// A pod's tolerations may grow, and this one means nothing.
		toleration := fmt.Appendf(nil, `[{"op":"add","path":"/spec/tolerations/-","value":{"key":"test.meshvm.io/%d-%d","operator":"Exists"}}]`, n, time.Now().UnixNano())
		err := h.Patch(h.ctx, p, client.RawPatch(types.JSONPatchType, toleration))
		if err == nil {
			await(h.ctx, h.T, "the kubelet to look at "+key.Name, func() bool {
				var now corev1.Pod
				return h.Find(uid, witness.Gone) != nil || h.Get(h.ctx, key, &now) == nil && now.Status.ObservedGeneration >= p.Generation
			})
		} else if !apierrors.IsNotFound(err) {
			h.Fatal(err)
		}
	}
	if h.Find(uid, computeRuns) != nil {
		h.Errorf("%s: the guest's container was started behind a shut gate", key.Name)
	}
}

// kubeletRestart restarts the kubelet under a pod that waits for its rules. The
// kubelet may then refuse the pod, when KubeVirt's devices are not back yet;
// KubeVirt makes another, which waits too.
func (h *held) kubeletRestart() {
	old := h.pod("")
	release := h.holdRules()
	defer release()
	pod := h.restart()
	h.await(pod, gateRuns)
	h.staysShut(pod)
	if err := h.RestartServer(h.ctx, h.nodeOf(pod), "kubelet"); err != nil {
		h.Fatal(err)
	}
	h.staysShut(pod)
	release()
	await(h.ctx, h.T, "a pod whose guest answers, in the endpoints", func() bool {
		for _, uid := range h.Pods() {
			if uid != old && h.Find(uid, witness.InEndpoints) != nil && h.Find(uid, witness.GuestAnswers) != nil {
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
	verified, runs := h.Find(target, witness.Verified), h.Find(target, computeRuns)
	if verified == nil || runs == nil || verified.At.After(runs.At) {
		h.Error("the target's rules were not verified before its guest's container ran")
	}
}

func (h *held) migrate() {
	old := h.pod("")
	h.beginMigration()
	h.moved(old)
}

// migrateShut has a target wait for its rules: KubeVirt copies nothing, and the
// guest stays where it is.
func (h *held) migrateShut() {
	old := h.pod("")
	release := h.holdRules()
	defer release()
	name := h.beginMigration()
	target := h.pod(old)
	h.await(target, gateRuns)
	h.staysShut(target)
	m := h.object("VirtualMachineInstanceMigration", name)
	if err := h.Get(h.ctx, client.ObjectKeyFromObject(m), m); err != nil {
		h.Fatal(err)
	}
	if phase, _, _ := unstructured.NestedString(m.Object, "status", "phase"); phase != "Scheduling" && phase != "Pending" {
		h.Errorf("the migration is %s although the target's gate is shut", phase)
	}
	if h.Find(old, witness.OutEndpoints) != nil {
		h.Error("the source left the endpoints although the guest runs there")
	}
	release()
	h.moved(old)
}

// beginMigration has KubeVirt move the guest, and returns the migration's name.
func (h *held) beginMigration() string {
	m := h.object("VirtualMachineInstanceMigration", fmt.Sprintf("held-%d", time.Now().Unix()))
	m.Object["spec"] = map[string]any{"vmiName": heldNamespace}
	if err := h.Create(h.ctx, m); err != nil {
		h.Fatal(err)
	}
	return m.GetName()
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
		// Also when the test's time is over.
		if err := h.Patch(context.WithoutCancel(h.ctx), n, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, !yes))); err != nil {
			h.Fatal(err)
		}
	}
	schedulable(false)
	defer schedulable(true)
	pod := h.restart()
	h.awaitGuest(pod)
	if on := h.nodeOf(pod); on != second {
		h.Fatalf("the pod is on %s", on)
	}
	if err := h.StopNode(second); err != nil {
		h.Fatal(err)
	}
	if err := h.StartNode(h.ctx, second); err != nil {
		h.Fatal(err)
	}
	h.awaitGuest(h.pod(pod))
}

// lose takes the table away from a running guest. While no writer can write rules the
// pod leaves the endpoints, by the kubelet's doing; the operator hears of it by the
// pod's status, and the pod is back when the rules were written again.
func (h *held) lose() {
	pod := h.pod("")
	release := h.holdRules()
	defer release()
	if _, err := h.PodNetnsExec(h.ctx, string(pod), "nft", "delete", "table", nft.FamilyInet, nftrules.TableName); err != nil {
		h.Fatal(err)
	}
	begin := time.Now()
	h.await(pod, witness.OutEndpoints)
	h.Logf("out of the endpoints %.1f s after the table was deleted", time.Since(begin).Seconds())
	h.await(pod, "not Programmed: "+string(v1alpha1.ReasonDrifted))
	begin = time.Now()
	release()
	await(h.ctx, h.T, "the pod to be back in the endpoints", func() bool {
		last := ""
		for _, e := range h.Events() {
			if e.UID == pod && (e.What == witness.InEndpoints || e.What == witness.OutEndpoints) {
				last = e.What
			}
		}
		return last == witness.InEndpoints
	})
	h.Logf("back in the endpoints %.1f s after rules could be written", time.Since(begin).Seconds())
}

// free has the guest start without a gate while no writer writes rules.
func (h *held) free() {
	h.control = true
	labelled := func() bool {
		vm := h.object("VirtualMachine", heldNamespace)
		if err := h.Get(h.ctx, client.ObjectKeyFromObject(vm), vm); err != nil {
			h.Fatal(err)
		}
		labels, _, _ := unstructured.NestedStringMap(vm.Object, "spec", "template", "metadata", "labels")
		return labels[v1alpha1.LabelStartGate] == v1alpha1.StartGateContainer
	}
	h.patch(`{"spec":{"start":"Immediate"}}`)
	await(h.ctx, h.T, "the gate to be taken away", func() bool { return !labelled() })
	release := h.holdRules()
	h.await(h.restart(), witness.FirstFrame)
	release()
	h.patch(`{"spec":{"start":"AfterProgrammed"}}`)
	await(h.ctx, h.T, "the gate to be back", labelled)
}
