// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TrafficCounters are totals of the rules' counters. Zero means that no traffic
// matched.
type TrafficCounters struct {
	// captured is the number of connections that were redirected to the mesh
	// proxy.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	Captured *int64 `json:"captured,omitempty"`

	// direct is the number of connections that bypassed the proxy.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	Direct *int64 `json:"direct,omitempty"`

	// dropped is the number of packets that were dropped.
	//
	// +required
	// +kubebuilder:validation:Minimum=0
	Dropped *int64 `json:"dropped,omitempty"`
}

// RepairsStatus reports how often verified rules were found missing or changed,
// and the latest occurrence.
type RepairsStatus struct {
	// count is the number of times that the rules were found missing or
	// changed. It never decreases. The rules are repaired once applied.repair
	// equals count.
	//
	// +required
	// +kubebuilder:validation:Minimum=1
	Count int32 `json:"count,omitempty"`

	// lastTime is the time of the latest detection.
	//
	// +required
	LastTime *metav1.Time `json:"lastTime,omitempty"`

	// lastReason is the reason for the latest repair: Drifted, SandboxRecreated or
	// NodeRebooted.
	//
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	LastReason ConditionReason `json:"lastReason,omitempty"`

	// lastMessage describes the latest difference.
	//
	// +optional
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=1024
	LastMessage string `json:"lastMessage,omitempty"`

	// windowStart is the time at which the first of the recent drifts was
	// detected.
	//
	// +optional
	WindowStart *metav1.Time `json:"windowStart,omitempty"`

	// recent is the number of drifts that were detected since windowStart. If
	// this number exceeds the limit, another process keeps changing the rules,
	// and the operator suspends repairs until the window ends.
	//
	// +optional
	// +kubebuilder:validation:Minimum=1
	Recent int32 `json:"recent,omitempty"`
}
