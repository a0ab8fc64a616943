// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/witness"
)

// startTimesVariable holds how often each way to start is measured.
const startTimesVariable = "MESHVM_START_TIMES"

// TestStartTimes measures the ways in which a guest starts: it is restarted some
// times each, in turns, so that what else the machine does strikes them alike.
// docs/decisions/0009 has the figures.
func TestStartTimes(t *testing.T) {
	rounds, err := strconv.Atoi(os.Getenv(startTimesVariable))
	if err != nil {
		t.Skipf("figures, not a check: %s=ROUNDS", startTimesVariable)
	}
	s := start(t)
	ctx := testContext(t, time.Hour)
	if err := errors.Join(s.DeployOperator(ctx), s.AllowUnpause(ctx)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { removeHeld(t, s) })
	defer configure(ctx, t, s, "")
	for round := range rounds {
		for _, way := range []struct{ name, start, configuration, gate, strategy string }{
			{"the gate", "AfterProgrammed", "", v1alpha1.StartGateContainer, ""},
			{"Immediate", "Immediate", "", v1alpha1.StartGateWatch, ""},
			{"Pause", "AfterProgrammed", "guests: {startGate: Pause}\n", "", "Paused"},
		} {
			configure(ctx, t, s, way.configuration)
			awaitHeld(t, s)
			w, err := witness.Start(ctx, witness.Options{Kubeconfig: s.Kubeconfig, Namespace: heldNamespace, PID: s.PodPID, GuestPort: 8080})
			if err != nil {
				t.Fatal(err)
			}
			h := &held{T: t, Scenario: s, ctx: ctx, Witness: w}
			h.patch(fmt.Sprintf(`{"spec":{"start":%q}}`, way.start))
			await(ctx, t, "the VirtualMachine to start by "+way.name, func() bool {
				vm := h.object("VirtualMachine", heldNamespace)
				if err := h.Get(ctx, client.ObjectKeyFromObject(vm), vm); err != nil {
					t.Fatal(err)
				}
				gate, _, _ := unstructured.NestedString(vm.Object, "spec", "template", "metadata", "labels", v1alpha1.LabelStartGate)
				strategy, _, _ := unstructured.NestedString(vm.Object, "spec", "template", "spec", "startStrategy")
				return gate == way.gate && strategy == way.strategy
			})
			pod := h.restart()
			h.awaitGuest(pod)
			w.Stop()
			t.Logf("round %d, %-9s  %s; %s", round+1, way.name, h.times(pod), w.Summary())
		}
	}
}

// times are the seconds from a pod's creation to what happened then.
func (h *held) times(pod types.UID) string {
	out := ""
	begin := h.Find(pod, witness.Created).At
	for _, what := range []string{witness.Verified, witness.Programmed, computeRuns, "VirtualMachineInstance Running", witness.FirstFrame, witness.GuestAnswers} {
		for _, e := range h.Events() {
			ofMachine := e.UID == "" && h.Find(pod, computeRuns) != nil
			if e.What == what && (e.UID == pod || ofMachine) && e.At.After(begin) {
				out += fmt.Sprintf("%s %.1f, ", what, e.At.Sub(begin).Seconds())
				break
			}
		}
	}
	return out + "seconds after the pod was made"
}
