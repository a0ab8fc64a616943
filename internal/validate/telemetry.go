// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"cmp"

	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// The limits of entries in the CRD (hack/tools/crdgen). Istio merges several entries of
// tracing, and warns that it does not support them.
const (
	maxAccessLogging = 16
	maxTracing       = 1
	maxMetrics       = 16
)

// telemetry rejects entries that Istio rejects, and telemetry of guests whose proxy does
// not read the configuration.
func (e *Errors) telemetry(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	t := mvm.Spec.Mesh.Telemetry
	if t.IsSet() && isAmbient(mvm) {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "applies only to dataPlane Sidecar, because ztunnel does not read Telemetry objects: remove it, or set mesh.dataPlane to Sidecar")
		return
	}
	checkEntries(e, t.AccessLogging, maxAccessLogging, path.Child("accessLogging"), func(x *telemetryv1alpha1.AccessLogging) *telemetryv1alpha1.Telemetry {
		return &telemetryv1alpha1.Telemetry{AccessLogging: []*telemetryv1alpha1.AccessLogging{x}}
	})
	checkEntries(e, t.Tracing, maxTracing, path.Child("tracing"), func(x *telemetryv1alpha1.Tracing) *telemetryv1alpha1.Telemetry {
		return &telemetryv1alpha1.Telemetry{Tracing: []*telemetryv1alpha1.Tracing{x}}
	})
	checkEntries(e, t.Metrics, maxMetrics, path.Child("metrics"), func(x *telemetryv1alpha1.Metrics) *telemetryv1alpha1.Telemetry {
		return &telemetryv1alpha1.Telemetry{Metrics: []*telemetryv1alpha1.Metrics{x}}
	})
}

// checkEntries validates each entry as Istio's webhook does, so that the message names
// the entry. Warnings are rejected too, because the entry would not have the effect that
// it describes.
func checkEntries[T any](e *Errors, entries []*T, limit int, path *field.Path, wrap func(*T) *telemetryv1alpha1.Telemetry) {
	if len(entries) > limit {
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "must have at most %d entries: remove the others", limit)
	}
	for i, x := range entries {
		if x == nil {
			e.Reject(v1alpha1.ReasonInvalidSpec, path.Index(i), "must not be null: remove the entry")
			continue
		}
		warning, err := validation.ValidateTelemetry(config.Config{Spec: wrap(x)})
		if err := cmp.Or(err, error(warning)); err != nil {
			e.Reject(v1alpha1.ReasonInvalidSpec, path.Index(i), "Istio rejects the entry: %s: correct it", Flattened(err))
		}
	}
}
