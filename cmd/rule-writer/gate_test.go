// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

// TestRunGate runs the gate outside of a pod, where no rules exist.
func TestRunGate(t *testing.T) {
	for name, tc := range map[string]struct {
		args []string
		want ruleio.ExitCode
		// reports is a substring of the error.
		reports string
		// ended is set if the gate is terminated, as by the kubelet.
		ended bool
	}{
		"check":             {[]string{"-check"}, ruleio.ExitRetryable, "gate: the rules of this pod are missing", false},
		"wait, terminated":  {[]string{"-wait"}, ruleio.ExitRetryable, "gate: context canceled", true},
		"watch, terminated": {nil, ruleio.ExitOK, "", true},
		"unknown flag":      {[]string{"-x"}, ruleio.ExitTerminal, "-x", false},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if tc.ended {
				cancel()
			}
			var out bytes.Buffer
			if got := runGate(ctx, tc.args, &out, &out); got != tc.want {
				t.Errorf("exit %d, want %d: %s", got, tc.want, &out)
			}
			if !strings.Contains(out.String(), tc.reports) {
				t.Errorf("the output does not contain %q: %s", tc.reports, &out)
			}
		})
	}
}
