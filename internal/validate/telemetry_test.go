// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/wrapperspb"
	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

// TestTelemetry checks the entries of Istio's lists.
func TestTelemetry(t *testing.T) {
	type (
		spec     = v1alpha1.TelemetrySpec
		provider = telemetryv1alpha1.ProviderRef
	)
	const path = "InvalidSpec spec.mesh.telemetry"
	logs := func(entries ...*telemetryv1alpha1.AccessLogging) spec { return spec{AccessLogging: entries} }
	traces := func(entries ...*telemetryv1alpha1.Tracing) spec { return spec{Tracing: entries} }
	metrics := func(entries ...*telemetryv1alpha1.Metrics) spec { return spec{Metrics: entries} }
	tag := func(o *telemetryv1alpha1.MetricsOverrides_TagOverride) spec {
		return metrics(&telemetryv1alpha1.Metrics{}, &telemetryv1alpha1.Metrics{Overrides: []*telemetryv1alpha1.MetricsOverrides{
			{TagOverrides: map[string]*telemetryv1alpha1.MetricsOverrides_TagOverride{"request_host": o}},
		}})
	}
	filter := func(expression string) spec {
		return logs(&telemetryv1alpha1.AccessLogging{Filter: &telemetryv1alpha1.AccessLogging_Filter{Expression: expression}})
	}
	for name, tc := range map[string]struct {
		spec spec
		want []string
	}{
		"not set":                    {spec{}, nil},
		"an access log":              {logs(&telemetryv1alpha1.AccessLogging{Providers: []*provider{{Name: "envoy"}}}), nil},
		"16 access logs":             {logs(slices.Repeat([]*telemetryv1alpha1.AccessLogging{{}}, 16)...), nil},
		"17 access logs":             {logs(slices.Repeat([]*telemetryv1alpha1.AccessLogging{{}}, 17)...), []string{path + ".accessLogging"}},
		"a null access log":          {logs(&telemetryv1alpha1.AccessLogging{}, nil), []string{path + ".accessLogging[1]"}},
		"a provider without a name":  {logs(&telemetryv1alpha1.AccessLogging{Providers: []*provider{{}}}), []string{path + ".accessLogging[0]"}},
		"a filter":                   {filter("response.code >= 400"), nil},
		"a filter that is no CEL":    {filter("response.code >="), []string{path + ".accessLogging[0]"}},
		"traces":                     {traces(&telemetryv1alpha1.Tracing{RandomSamplingPercentage: wrapperspb.Double(100)}), nil},
		"more traces than all":       {traces(&telemetryv1alpha1.Tracing{RandomSamplingPercentage: wrapperspb.Double(101)}), []string{path + ".tracing[0]"}},
		"two providers of traces":    {traces(&telemetryv1alpha1.Tracing{Providers: []*provider{{Name: "a"}, {Name: "b"}}}), []string{path + ".tracing[0]"}},
		"two entries of traces":      {traces(&telemetryv1alpha1.Tracing{}, &telemetryv1alpha1.Tracing{}), []string{path + ".tracing"}},
		"metrics":                    {tag(&telemetryv1alpha1.MetricsOverrides_TagOverride{Value: "request.host"}), nil},
		"a tag without a value":      {tag(&telemetryv1alpha1.MetricsOverrides_TagOverride{}), []string{path + ".metrics[1]"}},
		"a removed tag with a value": {tag(&telemetryv1alpha1.MetricsOverrides_TagOverride{Value: "x", Operation: telemetryv1alpha1.MetricsOverrides_TagOverride_REMOVE}), []string{path + ".metrics[1]"}},
		"17 entries of metrics":      {metrics(slices.Repeat([]*telemetryv1alpha1.Metrics{{}}, 17)...), []string{path + ".metrics"}},
		"null metrics":               {metrics(nil), []string{path + ".metrics[0]"}},
		"a problem in each list":     {spec{AccessLogging: v1alpha1.AccessLogging{nil}, Tracing: v1alpha1.Tracing{nil}, Metrics: v1alpha1.Metrics{nil}}, []string{path + ".accessLogging[0]", path + ".tracing[0]", path + ".metrics[0]"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := validatetest.Rejections(validate.Spec(b.MVM("web").Telemetry(tc.spec).Obj()))
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
	ambient := b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient).Telemetry(logs(nil)).Obj()
	if diff := cmp.Diff([]string{path}, validatetest.Rejections(validate.Spec(ambient))); diff != "" {
		t.Errorf("rejections in ambient mode (-want +got):\n%s", diff)
	}
}
