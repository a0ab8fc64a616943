// SPDX-License-Identifier: Apache-2.0

//go:build linux

package disruptive

import (
	"fmt"
	"os"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"

	"meshvm.io/meshvm/test/e2e/starts"
	"meshvm.io/meshvm/test/e2e/suite"
)

// startTimesVariable contains the number of measurements of each start mode.
const startTimesVariable = "MESHVM_START_TIMES"

// startTimes measures the start modes of a guest. It restarts the guest in each
// mode in turn, so that other load on the machine affects all modes. The results
// are in docs/decisions/0009. It checks nothing.
func startTimes(t *suite.T) {
	rounds, err := strconv.Atoi(os.Getenv(startTimesVariable))
	if err != nil {
		t.Fatalf("%s must be a number: %v", startTimesVariable, err)
	}
	t.Operator()
	ctx := t.Limit(time.Hour)
	t.NoError(t.Scenario().AllowUnpause(ctx))
	s := t.Namespace("start-times")
	t.ResetConfiguration()
	for round := range rounds {
		for _, mode := range []struct{ name, start, configuration, gate, strategy string }{
			{"the gate", "AfterProgrammed", "", v1alpha1.StartGateContainer, ""},
			{"Immediate", "Immediate", "", v1alpha1.StartGateWatch, ""},
			{"Pause", "AfterProgrammed", "guests: {startGate: Pause}\n", "", "Paused"},
		} {
			t.Configure(ctx, mode.configuration)
			starts.AwaitReady(t, s)
			h := starts.New(ctx, t, s)
			h.Edit(fmt.Sprintf(`{"spec":{"start":%q}}`, mode.start))
			t.Await(ctx, "the VirtualMachine to have the start mode "+mode.name, func() bool {
				strategy, _, _ := unstructured.NestedString(h.VirtualMachine().Object, "spec", "template", "spec", "startStrategy")
				return h.StartGate() == mode.gate && strategy == mode.strategy
			})
			pod := h.Restart()
			h.AwaitGuest(pod)
			h.Stop()
			t.Logf("round %d, %-9s  %s; %s", round+1, mode.name, h.Times(pod), h.Summary())
		}
	}
}
