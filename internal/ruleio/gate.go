// SPDX-License-Identifier: Apache-2.0

package ruleio

// Ports of the gate, on 127.0.0.1 of the pod. They are part of the contract
// between rules and containers that may be of different releases: they never
// change. No guest can offer them.
const (
	// GatePort is where the container of the gate connects to.
	GatePort uint16 = 15901
	// GateAnswerPort is where the connection arrives, by a rule that is in
	// effect only once the table was verified.
	GateAnswerPort uint16 = 15902
)

// Gate is how the container that delays the guest sees that the table was
// verified (package gate).
type Gate struct {
	// Port is GatePort.
	Port uint16 `json:"port"`
	// AnswerPort is GateAnswerPort.
	AnswerPort uint16 `json:"answerPort"`
}
