// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"cmp"
	"slices"

	telemetryapi "istio.io/api/telemetry/v1alpha1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
)

// TelemetryAfter returns a Telemetry that selects the pod with the labels and overrides
// settings of own, and the name of the field, or nil. Istio merges the Telemetry objects
// of a pod, the oldest first, so that a newer one has precedence (Istio,
// pilot/pkg/model, applicableTelemetries and getTelemetries).
func TelemetryAfter(own *telemetryv1.Telemetry, all []*telemetryv1.Telemetry, labels map[string]string) (other *telemetryv1.Telemetry, list string) {
	newest := slices.Clone(all)
	slices.SortFunc(newest, func(a, b *telemetryv1.Telemetry) int { return -compareAge(a, b) })
	for _, t := range newest {
		if compareAge(t, own) <= 0 {
			break
		}
		selector := t.Spec.GetSelector().GetMatchLabels()
		if t.Namespace != own.Namespace || len(selector) == 0 || !selects(selector, labels) {
			continue
		}
		if list := commonList(&own.Spec, &t.Spec); list != "" {
			return t, list
		}
	}
	return nil, ""
}

// compareAge orders as Istio's configCompareByCreationTime.
func compareAge(a, b *telemetryv1.Telemetry) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Namespace, b.Namespace))
}

// commonList returns the name of a list that both objects set.
func commonList(a, b *telemetryapi.Telemetry) string {
	switch {
	case len(a.GetAccessLogging()) > 0 && len(b.GetAccessLogging()) > 0:
		return "accessLogging"
	case len(a.GetTracing()) > 0 && len(b.GetTracing()) > 0:
		return "tracing"
	case len(a.GetMetrics()) > 0 && len(b.GetMetrics()) > 0:
		return "metrics"
	default:
		return ""
	}
}
