// SPDX-License-Identifier: Apache-2.0

package nat

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Format identifies the format of the result.
const Format = "meshvm.io/cli-nat/v1"

// Result is the result of the verb "nat".
type Result struct {
	// Format is the constant Format.
	Format string `json:"format"`
	// Verdict is the first line of the text.
	Verdict string `json:"verdict"`
	// AsDeclared reports whether the rules of all pods were read back as wanted.
	AsDeclared bool   `json:"asDeclared"`
	Namespace  string `json:"namespace"`
	Name       string `json:"name"`
	// Pods are the virt-launcher pods with rules.
	Pods []Pod `json:"pods,omitempty"`
	// Defects are the defects that rules correct.
	Defects []Defect `json:"defects,omitempty"`
	// Next is the last line of the text: the command to run next.
	Next string `json:"next"`
}

// Pod contains the wanted rules of a pod, and what was read back from its kernel.
type Pod struct {
	Name          string `json:"name"`
	Configuration string `json:"configuration"`
	// Difference is empty if the rules were read back as wanted.
	Difference string `json:"difference,omitempty"`
	Wanted     Wanted `json:"wanted"`
	// ReadBack is nil if no rules were read back.
	ReadBack *ReadBack `json:"readBack,omitempty"`
	Repairs  *Repairs  `json:"repairs,omitempty"`
}

// Wanted are the rules that the plugin computes from the PodNATConfiguration.
type Wanted struct {
	Digest string  `json:"digest,omitempty"`
	Rules  int     `json:"rules"`
	Sets   []Set   `json:"sets,omitempty"`
	Chains []Chain `json:"chains,omitempty"`
}

// Set is a set of ports or networks.
type Set struct {
	Name string `json:"name"`
	// Elements are the elements. The ports of the spec precede their names.
	Elements []string `json:"elements,omitempty"`
}

// Chain is a chain with rules.
type Chain struct {
	Name     string `json:"name"`
	Hook     string `json:"hook,omitempty"`
	Priority int32  `json:"priority"`
	Rules    []Rule `json:"rules,omitempty"`
}

// Rule is a rule with the defects of the rules of KubeVirt and Istio that it corrects.
type Rule struct {
	Text    string   `json:"text"`
	Defects []string `json:"defects,omitempty"`
}

// ReadBack is what the rule-writer read back from the kernel.
type ReadBack struct {
	Digest   string      `json:"digest"`
	Rules    int32       `json:"rules"`
	Time     metav1.Time `json:"time"`
	Node     string      `json:"node"`
	Captured int64       `json:"captured"`
	Direct   int64       `json:"direct"`
	Dropped  int64       `json:"dropped"`
}

// Repairs reports how often the rules were found changed.
type Repairs struct {
	Count   int32       `json:"count"`
	Time    metav1.Time `json:"time"`
	Reason  string      `json:"reason"`
	Message string      `json:"message,omitempty"`
}

// Defect is a defect of the rules of KubeVirt and Istio.
type Defect struct {
	Name    string `json:"name"`
	Summary string `json:"summary"`
}

// Declared reports whether the rules of all pods were read back as wanted.
func (r Result) Declared() bool { return r.AsDeclared }
