// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrafficCounters are totals of what rules have counted. Zero is a value: it
// says that no traffic passed.
type TrafficCounters struct {
	// captured are connections that were sent to the mesh proxy.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	Captured *int64 `json:"captured,omitempty"`

	// direct are connections that were sent past the proxy.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	Direct *int64 `json:"direct,omitempty"`

	// dropped are packets that were dropped.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	Dropped *int64 `json:"dropped,omitempty"`
}

// RepairsStatus tells how often rules that had been proven were found lost or
// changed, and why last.
type RepairsStatus struct {
	// count is the number of times; it never goes down. The rules are as they
	// should be again when applied.repair is as high.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	Count int32 `json:"count,omitempty"`

	// lastTime is when it was found last.
	//
	// +required
	LastTime *metav1.Time `json:"lastTime,omitempty"`

	// lastReason is why the rules had to be written again: Drifted,
	// SandboxRecreated or NodeRebooted.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	LastReason ConditionReason `json:"lastReason,omitempty"`

	// lastMessage says what was different.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	LastMessage string `json:"lastMessage,omitempty"`

	// windowStart is when the first of the recent drifts was found.
	//
	// +optional
	WindowStart *metav1.Time `json:"windowStart,omitempty"`

	// recent is how many drifts were found since windowStart. Too many within
	// a window are a fight with somebody else who writes the rules: nothing is
	// written then until the window is over.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	Recent int32 `json:"recent,omitempty"`
}
