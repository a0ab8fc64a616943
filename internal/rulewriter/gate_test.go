// SPDX-License-Identifier: Apache-2.0

package rulewriter

import (
	"testing"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nft/kernel"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

func gatedPlan() *ruleio.NATPlan {
	p := plan()
	p.Gate = &ruleio.Gate{Port: ruleio.GatePort, AnswerPort: ruleio.GateAnswerPort}
	return p
}

func TestGateOpensOnlyAfterTheReadBack(t *testing.T) {
	sabotage := func(n *node) {
		if len(n.table.Chains) > 1 {
			n.generation++
			n.table.Chains = n.table.Chains[:1]
		}
	}
	for name, tc := range map[string]struct {
		node node
		want ruleio.Outcome
		open bool
	}{
		"table unchanged": {node{}, ruleio.OutcomeApplied, true},
		"table in the kernel differs": {
			node{tamper: func(t *nft.Table) { t.Chains = t.Chains[:1] }}, ruleio.OutcomeMismatch, false,
		},
		"table cannot be read":                {node{readErr: kernel.ErrBusy}, ruleio.OutcomeFailed, false},
		"changed between reading and opening": {node{beforeOpen: sabotage}, ruleio.OutcomeMismatch, false},
		"other programs write rules": {
			node{beforeOpen: func(n *node) {
				if n.generation < 5 {
					n.generation++
				}
			}}, ruleio.OutcomeApplied, true,
		},
		"other programs never stop writing": {node{beforeOpen: func(n *node) { n.generation++ }}, ruleio.OutcomeFailed, false},
	} {
		t.Run(name, func(t *testing.T) {
			n := &tc.node
			got := Run(t.Context(), n.deps(), encode(t, ruleio.Target{
				Operation: ruleio.OperationApply, PodUID: podUID, PodIPs: []string{podIP}, Plan: gatedPlan(),
			}))
			if r := got.Targets[0]; r.Outcome != tc.want {
				t.Errorf("ended with %s (%s), want %s", r.Outcome, r.Message, tc.want)
			}
			open := len(n.table.Set(nftrules.SetGate).Elements) > 0
			if open != tc.open || n.openings > 1 || n.writes != 1 {
				t.Errorf("gate open: %t, opened %d times, written %d times; want open: %t", open, n.openings, n.writes, tc.open)
			}
		})
	}
}

// TestShutGateIsDrift simulates a rule-writer that is killed between its two
// transactions.
func TestShutGateIsDrift(t *testing.T) {
	want, err := nftrules.Build(*gatedPlan())
	if err != nil {
		t.Fatal(err)
	}
	shut := want.Shut().Table
	n := &node{table: &shut}
	got := Run(t.Context(), n.deps(), encode(t, ruleio.Target{
		Operation: ruleio.OperationVerify, PodUID: podUID, PodIPs: []string{podIP}, Plan: gatedPlan(),
	}))
	if r := got.Targets[0]; r.Outcome != ruleio.OutcomeDrifted {
		t.Errorf("ended with %s (%s), want %s", r.Outcome, r.Message, ruleio.OutcomeDrifted)
	}
	if len(want.Set(nftrules.SetGate).Elements) != 1 {
		t.Error("Shut modified the original table")
	}
}
