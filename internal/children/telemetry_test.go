// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
)

// observed configures the access log, the traces and the metrics of a guest.
func observed(guest *b.MVMBuilder) *b.MVMBuilder {
	type override = telemetryv1alpha1.MetricsOverrides
	selected := func(m telemetryv1alpha1.MetricSelector_IstioMetric) *telemetryv1alpha1.MetricSelector {
		return &telemetryv1alpha1.MetricSelector{
			MetricMatch: &telemetryv1alpha1.MetricSelector_Metric{Metric: m}, Mode: telemetryv1alpha1.WorkloadMode_SERVER,
		}
	}
	provider := func(name string) []*telemetryv1alpha1.ProviderRef {
		return []*telemetryv1alpha1.ProviderRef{{Name: name}}
	}
	return guest.Telemetry(v1alpha1.TelemetrySpec{
		AccessLogging: v1alpha1.AccessLogging{
			{Providers: provider("envoy"), Filter: &telemetryv1alpha1.AccessLogging_Filter{Expression: "!has(response.code) || response.code >= 400"}},
			{
				Match:     &telemetryv1alpha1.AccessLogging_LogSelector{Mode: telemetryv1alpha1.WorkloadMode_CLIENT},
				Providers: provider("envoy"), Disabled: wrapperspb.Bool(true),
			},
		},
		Tracing: v1alpha1.Tracing{{
			Providers: provider("traces"), RandomSamplingPercentage: wrapperspb.Double(2.5),
			CustomTags: map[string]*telemetryv1alpha1.Tracing_CustomTag{
				"team": {Type: &telemetryv1alpha1.Tracing_CustomTag_Literal{Literal: &telemetryv1alpha1.Tracing_Literal{Value: "shop"}}},
			},
		}},
		Metrics: v1alpha1.Metrics{{
			Providers: provider("prometheus"), ReportingInterval: durationpb.New(10e9),
			Overrides: []*override{
				{Match: selected(telemetryv1alpha1.MetricSelector_REQUEST_COUNT), TagOverrides: map[string]*telemetryv1alpha1.MetricsOverrides_TagOverride{
					"request_method":      {Value: "request.method"},
					"destination_version": {Operation: telemetryv1alpha1.MetricsOverrides_TagOverride_REMOVE},
				}},
				{Match: selected(telemetryv1alpha1.MetricSelector_RESPONSE_SIZE), Disabled: wrapperspb.Bool(true)},
			},
		}},
	})
}
