// SPDX-License-Identifier: Apache-2.0

package children

import (
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
)

// telemetry builds the Telemetry of the guest's pods, or nil if the spec does not request
// one.
func telemetry(in Input) *telemetryv1.Telemetry {
	spec := in.MVM.Spec.Mesh.Telemetry
	if !spec.IsSet() {
		return nil
	}
	t := &telemetryv1.Telemetry{ObjectMeta: meta(in.MVM, in.MVM.Name)}
	t.SetGroupVersionKind(TelemetryKind)
	t.Spec.Selector = guestSelector(in.MVM)
	t.Spec.AccessLogging = spec.AccessLogging.DeepCopy()
	t.Spec.Tracing = spec.Tracing.DeepCopy()
	t.Spec.Metrics = spec.Metrics.DeepCopy()
	return t
}
