//go:build linux

package e2e

import (
	"context"
	"fmt"
	"strings"
	"sync"
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
	// control says that the guarantee must be seen broken.
	control bool
}

// TestGate has the guest start in every way that there is. In none of them may
// there be a frame from or to it before the rules of its pod were verified, nor
// the pod in its Service's endpoints. The last is the opposite: the same witness
// sees the frames of a guest that nothing holds back.
func TestGate(t *testing.T) {
	s := start(t)
	if err := s.DeployOperator(testContext(t, 5*time.Minute)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeHeld(t, s) }) // it would run beside all later tests
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
		{"nothing holds the guest back", (*held).free},
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
	if _, err := s.ReadyPod(ctx, client.ObjectKey{Namespace: heldNamespace, Name: heldNamespace}); err != nil {
		t.Fatal(err)
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
	h := &held{T: t, Scenario: s, ctx: ctx, Witness: w}
	defer func() {
		w.Stop()
		var out strings.Builder
		if err := w.Timeline(&out); err != nil {
			t.Error(err)
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
			t.Error("the witness saw nothing of a guest that nothing held back")
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

// holdRules keeps the operator from writing rules until the function that it
// returns is called.
func (h *held) holdRules() (release func()) {
	h.patch(`{"metadata":{"annotations":{"meshvm.io/paused":"true"}}}`)
	return sync.OnceFunc(func() { h.patch(`{"metadata":{"annotations":{"meshvm.io/paused":null}}}`) })
}

// staysShut has the kubelet go over a pod whose gate is shut, twice and wholly: it
// would start what it can start. Each time it says by the generation that it saw
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
		h.Error("the source left the endpoints although the guest is there")
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
		if err := h.Patch(h.ctx, n, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, !yes))); err != nil {
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
	// Any change of the rules has them written; so would the next audit.
	h.patch(fmt.Sprintf(`{"spec":{"capture":{"outbound":{"excludePorts":[{"port":%d}]}}}}`, 20000+time.Now().Unix()%10000))
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

// free has the guest start without a gate while nobody writes rules.
func (h *held) free() {
	h.control = true
	labelled := func() bool {
		vm := h.object("VirtualMachine", heldNamespace)
		if err := h.Get(h.ctx, client.ObjectKeyFromObject(vm), vm); err != nil {
			h.Fatal(err)
		}
		labels, _, _ := unstructured.NestedStringMap(vm.Object, "spec", "template", "metadata", "labels")
		return labels[v1alpha1.LabelStartGate] != ""
	}
	h.patch(`{"spec":{"start":"Immediate"}}`)
	await(h.ctx, h.T, "the gate to be taken away", func() bool { return !labelled() })
	release := h.holdRules()
	h.await(h.restart(), witness.FirstFrame)
	release()
	h.patch(`{"spec":{"start":"AfterProgrammed"}}`)
	await(h.ctx, h.T, "the gate to be back", labelled)
}
