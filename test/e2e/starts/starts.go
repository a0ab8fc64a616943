// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package starts observes the starts of a guest with package witness. The tests in
// features and disruptive use it.
package starts

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/cluster/witness"
	"meshvm.io/meshvm/test/e2e/suite"
)

// Events of the pod's containers.
const (
	GateRuns    = "container meshvm-gate runs"
	ComputeRuns = "container compute runs"
)

// Name is the name of the machine.
const Name = "gated"

// Machine returns the machine whose starts are observed.
func Machine() suite.Machine {
	return suite.Machine{Name: Name, Template: "evictionStrategy: LiveMigrate"}
}

// Start is one observed start of the machine.
type Start struct {
	*suite.T
	*scenario.Scenario
	*witness.Witness
	// Ctx is the time limit of the start.
	Ctx context.Context //nolint:containedctx // A start is a subtest, and this is its time limit.
	// control reports that the guarantee must be violated.
	control bool
}

// Step is one way to start the machine, a subtest.
type Step struct {
	Name string
	Run  func(h *Start)
	// Absent begins without the machine.
	Absent bool
}

// Run deploys the operator and runs the steps in a namespace of the test. Each step
// can also run alone.
func Run(t *suite.T, namespace string, steps []Step) {
	t.Helper()
	t.Operator()
	s := t.Namespace(namespace)
	for _, step := range steps {
		passed := t.Step(step.Name, func(t *suite.T) {
			if step.Absent {
				t.RemoveMachines(s)
			} else {
				AwaitReady(t, s)
			}
			observe(t, s, step.Run)
		})
		if !passed {
			t.RemoveMachines(s) // the next step does not start from a broken machine
		}
	}
}

// AwaitReady creates the machine unless it exists, and waits until it is Ready.
func AwaitReady(t *suite.T, s *scenario.Scenario) {
	t.Helper()
	ctx := t.Limit(3 * time.Minute)
	t.NoError(s.ApplyMachines(ctx, Machine().Manifest()))
	pod, err := s.ReadyPod(ctx, client.ObjectKey{Namespace: s.SampleNamespace(), Name: Name})
	t.NoError(err)
	t.CheckSkew(ctx, s, pod)
}

// New starts a witness. The caller calls Stop.
func New(ctx context.Context, t *suite.T, s *scenario.Scenario) *Start {
	t.Helper()
	w, err := witness.Start(ctx, witness.Options{Kubeconfig: s.Kubeconfig, Namespace: s.SampleNamespace(), PID: s.PodPID, GuestPort: 8080})
	t.NoError(err)
	return &Start{T: t, Scenario: s, Ctx: ctx, Witness: w}
}

// observe runs a start with a witness and evaluates its records.
func observe(t *suite.T, s *scenario.Scenario, run func(h *Start)) {
	t.Helper()
	h := New(t.Limit(6*time.Minute), t, s)
	defer func() {
		h.Stop()
		var out strings.Builder
		if err := h.Timeline(&out); err != nil {
			t.Error(err)
		}
		for _, uid := range h.Pods() {
			if first := h.Find(uid, witness.Watched); first != nil {
				fmt.Fprintf(&out, "%s: %s\n", first.Object, h.Times(uid))
			}
		}
		t.Logf("timeline:\n%s%s", out.String(), h.Summary())
		for _, v := range h.Violations() {
			if h.control {
				t.Logf("expected: %s", v)
				continue
			}
			t.Error(v)
		}
		if h.control && len(h.Violations()) == 0 {
			t.Error("the witness reported no violation for a guest whose start was not delayed")
		}
	}()
	run(h)
}

// ExpectViolations makes the test fail if the witness reports no violation.
func (h *Start) ExpectViolations() { h.control = true }

// Apply applies the machine.
func (h *Start) Apply() {
	h.Helper()
	h.NoError(h.ApplyMachines(h.Ctx, Machine().Manifest()))
}

// Pod waits for a virt-launcher pod other than the given one.
func (h *Start) Pod(not types.UID) types.UID {
	h.Helper()
	var found types.UID
	h.Await(h.Ctx, "a new virt-launcher pod", func() bool {
		for _, uid := range h.Pods() {
			if uid != not && h.Find(uid, witness.Gone) == nil {
				found = uid
			}
		}
		return found != ""
	})
	return found
}

// AwaitEvent waits for an event of a pod. It fails if the frames of the pod cannot
// be counted.
func (h *Start) AwaitEvent(uid types.UID, what string) {
	h.Helper()
	h.Await(h.Ctx, what, func() bool {
		if err := h.Failed(uid); err != nil {
			h.Fatalf("the frames of %s are not counted: %v", h.PodName(uid), err)
		}
		return h.Find(uid, what) != nil
	})
}

// AwaitGuest waits until the guest answers and the pod is in the endpoints.
func (h *Start) AwaitGuest(uid types.UID) {
	h.Helper()
	h.AwaitEvent(uid, witness.GuestAnswers)
	h.AwaitEvent(uid, witness.InEndpoints)
}

// PodName returns the name of a pod.
func (h *Start) PodName(uid types.UID) string { return h.Find(uid, witness.Created).Object }

// PodKey returns the key of a pod.
func (h *Start) PodKey(uid types.UID) client.ObjectKey {
	return client.ObjectKey{Namespace: h.SampleNamespace(), Name: h.PodName(uid)}
}

// Key returns the key of the machine's objects.
func (h *Start) Key() client.ObjectKey {
	return client.ObjectKey{Namespace: h.SampleNamespace(), Name: Name}
}

// Restart deletes the VirtualMachineInstance, which KubeVirt creates again, and
// returns its new pod.
func (h *Start) Restart() types.UID {
	h.Helper()
	old := h.Pod("")
	h.NoError(h.Delete(h.Ctx, suite.KubeVirtObject("VirtualMachineInstance", h.Key())))
	return h.Pod(old)
}

// Edit changes the MeshedVirtualMachine.
func (h *Start) Edit(mergePatch string) {
	h.Helper()
	h.NoError(h.edit(h.Ctx, mergePatch))
}

func (h *Start) edit(ctx context.Context, mergePatch string) error {
	u := suite.Object("MeshedVirtualMachine", h.Key())
	return h.Patch(ctx, u, client.RawPatch(types.MergePatchType, []byte(mergePatch)))
}

// Pause pauses the reconciliation of the machine, so that the operator writes no
// rules, until the returned function is called. That function also works after the
// test has failed or its time limit has passed.
func (h *Start) Pause() (resume func()) {
	h.Helper()
	h.Edit(`{"metadata":{"annotations":{"meshvm.io/paused":"true"}}}`)
	return sync.OnceFunc(func() {
		ctx, cancel := h.CleanupLimit(time.Minute)
		defer cancel()
		if err := h.edit(ctx, `{"metadata":{"annotations":{"meshvm.io/paused":null}}}`); err != nil {
			h.Errorf("resume the reconciliation of the machine: %v", err)
		}
	})
}

// CheckGateShut checks that the kubelet does not start the guest's container behind
// a shut gate. It makes the kubelet synchronize the pod twice, by changes of its
// tolerations. The kubelet reports the generation of each change when it begins to
// synchronize (KEP-5067), so the third report shows that the second synchronization
// has ended. A pod that was deleted meanwhile starts nothing either.
func (h *Start) CheckGateShut(uid types.UID) {
	h.Helper()
	key := h.PodKey(uid)
	for n := range 3 {
		p := &corev1.Pod{}
		p.Namespace, p.Name = key.Namespace, key.Name
		// Tolerations can be added to a pod. This one has no effect.
		toleration := fmt.Appendf(nil, `[{"op":"add","path":"/spec/tolerations/-","value":{"key":"test.meshvm.io/%d-%d","operator":"Exists"}}]`, n, time.Now().UnixNano())
		err := h.Patch(h.Ctx, p, client.RawPatch(types.JSONPatchType, toleration))
		if err == nil {
			h.Await(h.Ctx, "the kubelet to synchronize "+key.Name, func() bool {
				var now corev1.Pod
				return h.Find(uid, witness.Gone) != nil || h.Get(h.Ctx, key, &now) == nil && now.Status.ObservedGeneration >= p.Generation
			})
		} else if !apierrors.IsNotFound(err) {
			h.Fatal(err)
		}
	}
	if h.Find(uid, ComputeRuns) != nil {
		h.Errorf("%s: the guest's container was started behind a shut gate", key.Name)
	}
}

// NodeOf returns the node of a pod.
func (h *Start) NodeOf(uid types.UID) string {
	h.Helper()
	var p corev1.Pod
	h.NoError(h.Get(h.Ctx, h.PodKey(uid), &p))
	return p.Spec.NodeName
}

// VirtualMachine reads the machine's VirtualMachine.
func (h *Start) VirtualMachine() *unstructured.Unstructured {
	h.Helper()
	vm := suite.KubeVirtObject("VirtualMachine", h.Key())
	h.NoError(h.Get(h.Ctx, h.Key(), vm))
	return vm
}

// StartGate returns the label of the VirtualMachine's template that selects the
// start gate.
func (h *Start) StartGate() string {
	h.Helper()
	labels, _, _ := unstructured.NestedStringMap(h.VirtualMachine().Object, "spec", "template", "metadata", "labels")
	return labels[v1alpha1.LabelStartGate]
}

// Times returns the seconds from a pod's creation to later events.
func (h *Start) Times(pod types.UID) string {
	var out strings.Builder
	begin := h.Find(pod, witness.Created).At
	for _, what := range []string{witness.Verified, witness.Programmed, ComputeRuns, "VirtualMachineInstance Running", witness.FirstFrame, witness.GuestAnswers} {
		for _, e := range h.Events() {
			ofMachine := e.UID == "" && h.Find(pod, ComputeRuns) != nil
			if e.What == what && (e.UID == pod || ofMachine) && e.At.After(begin) {
				fmt.Fprintf(&out, "%s %.1f, ", what, e.At.Sub(begin).Seconds())
				break
			}
		}
	}
	return out.String() + "seconds after the pod was created"
}
