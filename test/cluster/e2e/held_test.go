// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/cluster/witness"
)

// Events of the pod's containers.
const (
	gateRuns    = "container meshvm-gate runs"
	computeRuns = "container compute runs"
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
	// control reports that the guarantee must be seen broken.
	control bool
}

// removeHeld deletes the machine, if there is one, and waits until its pods are gone.
func removeHeld(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	m := object("MeshedVirtualMachine", heldNamespace)
	m.SetNamespace(heldNamespace)
	if err := s.Delete(ctx, m); client.IgnoreNotFound(err) != nil {
		t.Fatal(err)
	}
	await(ctx, t, "the machine to go", func() bool {
		var pods corev1.PodList
		return s.List(ctx, &pods, client.InNamespace(heldNamespace)) == nil && len(pods.Items) == 0 &&
			apierrors.IsNotFound(s.Get(ctx, client.ObjectKeyFromObject(m), m))
	})
}

// awaitHeld waits for the machine to be Ready and its guest to run, and makes it
// if there is none.
func awaitHeld(t *testing.T, s *scenario.Scenario) {
	t.Helper()
	ctx := testContext(t, 3*time.Minute)
	if err := s.ApplyManifest(ctx, []byte(heldYAML)); err != nil {
		t.Fatal(err)
	}
	pod, err := s.ReadyPod(ctx, client.ObjectKey{Namespace: heldNamespace, Name: heldNamespace})
	if err != nil {
		t.Fatal(err)
	}
	checkSkew(ctx, t, s, pod)
}

// watched runs a start under a witness and judges what that saw.
func watched(t *testing.T, s *scenario.Scenario, run func(h *held)) {
	t.Helper()
	ctx := testContext(t, 6*time.Minute)
	w, err := witness.Start(ctx, witness.Options{Kubeconfig: s.Kubeconfig, Namespace: heldNamespace, PID: s.PodPID, GuestPort: 8080})
	if err != nil {
		t.Fatal(err)
	}
	h := &held{T: t, Scenario: s, ctx: ctx, Witness: w}
	defer func() {
		w.Stop()
		var out strings.Builder
		if err := w.Timeline(&out); err != nil {
			t.Error(err)
		}
		for _, uid := range w.Pods() {
			if made := w.Find(uid, witness.Watched); made != nil {
				fmt.Fprintf(&out, "%s: %s\n", made.Object, h.times(uid))
			}
		}
		t.Logf("timeline:\n%s%s", out.String(), w.Summary())
		for _, v := range w.Violations() {
			if h.control {
				t.Logf("as it must be: %s", v)
				continue
			}
			t.Error(v)
		}
		if h.control && len(w.Violations()) == 0 {
			t.Error("the witness saw nothing of a guest whose start was not delayed")
		}
	}()
	run(h)
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

// await waits for an event of a pod, which no longer can be seen when the pod's
// frames are not counted.
func (h *held) await(uid types.UID, what string) {
	await(h.ctx, h.T, what, func() bool {
		if err := h.Failed(uid); err != nil {
			h.Fatalf("%s is not counted: %v", h.Find(uid, witness.Created).Object, err)
		}
		return h.Find(uid, what) != nil
	})
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

// restart deletes the instance, which KubeVirt makes again, and returns its pod.
func (h *held) restart() types.UID {
	old := h.pod("")
	if err := h.Delete(h.ctx, h.object("VirtualMachineInstance", heldNamespace)); err != nil {
		h.Fatal(err)
	}
	return h.pod(old)
}

// patch changes the MeshedVirtualMachine.
func (h *held) patch(text string) {
	if err := h.tryPatch(h.ctx, text); err != nil {
		h.Fatal(err)
	}
}

func (h *held) tryPatch(ctx context.Context, text string) error {
	u := h.object("MeshedVirtualMachine", heldNamespace)
	u.SetAPIVersion(v1alpha1.GroupVersion.String())
	return h.Patch(ctx, u, client.RawPatch(types.MergePatchType, []byte(text)))
}

func (h *held) nodeOf(uid types.UID) string {
	var p corev1.Pod
	if err := h.Get(h.ctx, client.ObjectKey{Namespace: heldNamespace, Name: h.Find(uid, witness.Created).Object}, &p); err != nil {
		h.Fatal(err)
	}
	return p.Spec.NodeName
}
