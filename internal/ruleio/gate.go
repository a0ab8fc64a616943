// SPDX-License-Identifier: Apache-2.0

package ruleio

// Ports of the gate on 127.0.0.1 of the pod. They are part of the contract
// between rules and containers, which can belong to different releases, so they
// never change. Guests cannot use these ports.
const (
	// GatePort is the port that the gate container connects to.
	GatePort uint16 = 15901
	// GateAnswerPort is the port to which a rule redirects the connection once
	// the table is verified.
	GateAnswerPort uint16 = 15902
)

// Gate specifies the ports by which the container that delays the guest detects
// a verified table (package gate).
type Gate struct {
	// Port is GatePort.
	Port uint16 `json:"port"`
	// AnswerPort is GateAnswerPort.
	AnswerPort uint16 `json:"answerPort"`
}
