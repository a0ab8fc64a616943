// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"fmt"
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
	"meshvm.io/meshvm/test/e2e/starts"
	"meshvm.io/meshvm/test/e2e/suite"
)

// gate starts the guest in different ways. Before the rules of its pod are
// verified, the kernel must not count a frame from or to the guest, and the pod
// must not be in the endpoints of its Service. In the last step, the witness must
// see frames of a guest whose start is not delayed. Starts that restart the kubelet
// or a node are in package disruptive.
func gate(t *suite.T) {
	starts.Run(t, "gate", []starts.Step{
		{Name: "start", Absent: true, Run: func(h *starts.Start) { h.Apply(); h.AwaitGuest(h.Pod("")) }},
		{Name: "restart", Run: func(h *starts.Start) { h.AwaitGuest(h.Restart()) }},
		{Name: "live migration", Run: migrate},
		{Name: "live migration behind a shut gate", Run: migrateShut},
		{Name: "eviction", Run: evict},
		{Name: "lost table", Run: loseTable},
		{Name: "no gate", Run: startImmediately},
	})
}

// awaitMoved waits until a migration has ended in a new pod, and the
// PodNATConfiguration of the old pod is deleted.
func awaitMoved(h *starts.Start, old types.UID) {
	target := h.Pod(old)
	h.AwaitEvent(target, witness.InEndpoints)
	h.AwaitEvent(old, witness.NATGone)
	verified, runs := h.Find(target, witness.Verified), h.Find(target, starts.ComputeRuns)
	if verified == nil || runs == nil || verified.At.After(runs.At) {
		h.Error("the target's rules were not verified before its guest's container ran")
	}
}

func migrate(h *starts.Start) {
	old := h.Pod("")
	beginMigration(h)
	awaitMoved(h, old)
}

// migrateShut pauses the machine, so that the target pod waits for its rules.
// KubeVirt must not copy the guest, and the guest stays in the source pod.
func migrateShut(h *starts.Start) {
	old := h.Pod("")
	resume := h.Pause()
	defer resume()
	name := beginMigration(h)
	target := h.Pod(old)
	h.AwaitEvent(target, starts.GateRuns)
	h.CheckGateShut(target)
	m := suite.KubeVirtObject("VirtualMachineInstanceMigration", client.ObjectKey{Namespace: h.SampleNamespace(), Name: name})
	h.NoError(h.Get(h.Ctx, client.ObjectKeyFromObject(m), m))
	if phase, _, _ := unstructured.NestedString(m.Object, "status", "phase"); phase != "Scheduling" && phase != "Pending" {
		h.Errorf("the migration is in phase %s although the target's gate is shut", phase)
	}
	if h.Find(old, witness.OutEndpoints) != nil {
		h.Error("the source pod was removed from the endpoints although it has the guest")
	}
	resume()
	awaitMoved(h, old)
}

// beginMigration creates a migration and returns its name.
func beginMigration(h *starts.Start) string {
	m := suite.KubeVirtObject("VirtualMachineInstanceMigration", client.ObjectKey{
		Namespace: h.SampleNamespace(), Name: fmt.Sprintf("%s-%d", starts.Name, time.Now().Unix()),
	})
	m.Object["spec"] = map[string]any{"vmiName": starts.Name}
	h.NoError(h.Create(h.Ctx, m))
	return m.GetName()
}

func evict(h *starts.Start) {
	old := h.Pod("")
	pod := &corev1.Pod{}
	pod.Namespace, pod.Name = h.SampleNamespace(), h.PodName(old)
	err := h.SubResource("eviction").Create(h.Ctx, pod, &policyv1.Eviction{})
	// KubeVirt first rejects the eviction and migrates the guest.
	if err != nil && !apierrors.IsTooManyRequests(err) {
		h.Fatal(err)
	}
	awaitMoved(h, old)
}

// loseTable deletes the table of a running guest. While the machine is paused, the
// kubelet reports that the pod is not Ready, so the pod leaves the endpoints, and
// the operator reports the drift because of the pod's status. After the operator
// has written the rules again, the pod returns to the endpoints.
func loseTable(h *starts.Start) {
	pod := h.Pod("")
	resume := h.Pause()
	defer resume()
	_, err := h.PodNetnsExec(h.Ctx, string(pod), "nft", "delete", "table", nft.FamilyInet, nftrules.TableName)
	h.NoError(err)
	begin := time.Now()
	h.AwaitEvent(pod, witness.OutEndpoints)
	h.T.Logf("the pod left the endpoints %.1f s after the table was deleted", time.Since(begin).Seconds())
	h.AwaitEvent(pod, "not Programmed: "+string(v1alpha1.ReasonDrifted))
	begin = time.Now()
	resume()
	h.Await(h.Ctx, "the pod to return to the endpoints", func() bool {
		last := ""
		for _, e := range h.Events() {
			if e.UID == pod && (e.What == witness.InEndpoints || e.What == witness.OutEndpoints) {
				last = e.What
			}
		}
		return last == witness.InEndpoints
	})
	h.T.Logf("the pod returned to the endpoints %.1f s after the machine was resumed", time.Since(begin).Seconds())
}

// startImmediately starts the guest without a gate while the machine is paused.
func startImmediately(h *starts.Start) {
	h.ExpectViolations()
	h.Edit(`{"spec":{"start":"Immediate"}}`)
	h.Await(h.Ctx, "the gate to be removed from the VirtualMachine", func() bool { return h.StartGate() != v1alpha1.StartGateContainer })
	resume := h.Pause()
	defer resume()
	h.AwaitEvent(h.Restart(), witness.FirstFrame)
	resume()
	h.Edit(`{"spec":{"start":"AfterProgrammed"}}`)
	h.Await(h.Ctx, "the gate to be added to the VirtualMachine", func() bool { return h.StartGate() == v1alpha1.StartGateContainer })
}
