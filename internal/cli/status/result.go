// SPDX-License-Identifier: Apache-2.0

package status

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Format identifies the format of the result.
const Format = "meshvm.io/cli-status/v1"

// Result is the result of the verb "status".
type Result struct {
	// Format is the constant Format.
	Format string `json:"format"`
	// Verdict is the first line of the text.
	Verdict string `json:"verdict"`
	// AsDeclared reports whether all machines are as declared.
	AsDeclared bool `json:"asDeclared"`
	// Machines are the machines. The state of their objects is present only for a machine
	// that was selected by its name.
	Machines []Machine `json:"machines"`
	// Next is the last line of the text: the command to run next.
	Next string `json:"next"`
}

// Machine is the state of a MeshedVirtualMachine.
type Machine struct {
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	Verdict    string `json:"verdict"`
	AsDeclared bool   `json:"asDeclared"`
	// Ready, Reason, VirtualMachine, MTLS and NAT are the columns of a list.
	Ready          string `json:"ready"`
	Reason         string `json:"reason"`
	VirtualMachine string `json:"virtualMachine"`
	MTLS           string `json:"mtls"`
	NAT            string `json:"nat"`
	// VirtualMachineName is the name of an adopted VirtualMachine, which can differ from
	// that of the machine.
	VirtualMachineName string `json:"virtualMachineName,omitempty"`
	// Pauses are the reasons why a program does not act on the machine.
	Pauses []string `json:"pauses,omitempty"`
	// Blocker is the condition that prevents the declared state.
	Blocker *Blocker `json:"blocker,omitempty"`
	// Notices are conditions that do not affect Ready and need attention.
	Notices []Blocker `json:"notices,omitempty"`
	// Objects is the tree of the objects of the machine.
	Objects []Node `json:"objects,omitempty"`
	// Unreadable are the kinds that the user is not permitted to read.
	Unreadable []string `json:"unreadable,omitempty"`
	// Next is the command to run next.
	Next string `json:"next"`
}

// Blocker is a condition with the person or program that must act.
type Blocker struct {
	Condition string      `json:"condition"`
	Reason    string      `json:"reason"`
	Message   string      `json:"message"`
	Turn      Turn        `json:"turn"`
	Since     metav1.Time `json:"since"`
}

// Node is an object, or a part of one, in the tree.
type Node struct {
	Kind     string `json:"kind"`
	Name     string `json:"name"`
	State    string `json:"state"`
	Children []Node `json:"children,omitempty"`
}

// Declared reports whether all machines are as declared.
func (r Result) Declared() bool { return r.AsDeclared }
