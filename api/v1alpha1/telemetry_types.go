// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"

// TelemetrySpec configures the access log, the traces and the metrics of the guest's
// proxy.
//
// +kubebuilder:validation:MinProperties=0
type TelemetrySpec struct {
	// accessLogging is Istio's configuration of the access log, with at most 16
	// entries. An entry without providers applies to the providers of the previous
	// entry or to the default ones.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	AccessLogging AccessLogging `json:"accessLogging,omitempty"`

	// tracing is Istio's configuration of traces, with one entry. Istio uses only one
	// provider.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Tracing Tracing `json:"tracing,omitempty"`

	// metrics is Istio's configuration of metrics, with at most 16 entries.
	//
	// +optional
	// +kubebuilder:validation:Schemaless
	// +kubebuilder:pruning:PreserveUnknownFields
	Metrics Metrics `json:"metrics,omitempty"`
}

// IsSet reports whether the spec configures telemetry.
func (t TelemetrySpec) IsSet() bool {
	return len(t.AccessLogging) > 0 || len(t.Tracing) > 0 || len(t.Metrics) > 0
}

// AccessLogging is the list of this name of an Istio Telemetry.
//
// +kubebuilder:object:generate=false
type AccessLogging []*telemetryv1alpha1.AccessLogging

// DeepCopyInto copies the list. controller-gen cannot copy a list of pointers to
// messages.
func (in *AccessLogging) DeepCopyInto(out *AccessLogging) { *out = in.DeepCopy() }

// DeepCopy returns a copy of the list.
func (in *AccessLogging) DeepCopy() AccessLogging { return copies(*in) }

// Tracing is the list of this name of an Istio Telemetry.
//
// +kubebuilder:object:generate=false
type Tracing []*telemetryv1alpha1.Tracing

// DeepCopyInto copies the list. controller-gen cannot copy a list of pointers to
// messages.
func (in *Tracing) DeepCopyInto(out *Tracing) { *out = in.DeepCopy() }

// DeepCopy returns a copy of the list.
func (in *Tracing) DeepCopy() Tracing { return copies(*in) }

// Metrics is the list of this name of an Istio Telemetry.
//
// +kubebuilder:object:generate=false
type Metrics []*telemetryv1alpha1.Metrics

// DeepCopyInto copies the list. controller-gen cannot copy a list of pointers to
// messages.
func (in *Metrics) DeepCopyInto(out *Metrics) { *out = in.DeepCopy() }

// DeepCopy returns a copy of the list.
func (in *Metrics) DeepCopy() Metrics { return copies(*in) }
