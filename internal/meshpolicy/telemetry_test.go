// SPDX-License-Identifier: Apache-2.0

package meshpolicy_test

import (
	"testing"
	"time"

	telemetryapi "istio.io/api/telemetry/v1alpha1"
	typev1beta1 "istio.io/api/type/v1beta1"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/internal/meshpolicy"
)

// telemetryOf returns a Telemetry for the pods with app=web that sets accessLogging.
func telemetryOf(name string, created int64, changes ...func(*telemetryv1.Telemetry)) *telemetryv1.Telemetry {
	t := &telemetryv1.Telemetry{}
	t.Namespace, t.Name, t.CreationTimestamp = "shop", name, metav1.NewTime(time.Unix(created, 0))
	t.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": "web"}}
	t.Spec.AccessLogging = []*telemetryapi.AccessLogging{{}}
	for _, change := range changes {
		change(t)
	}
	return t
}

func TestTelemetryAfter(t *testing.T) {
	own := telemetryOf("web", 10)
	for name, tc := range map[string]struct {
		others     []*telemetryv1.Telemetry
		want, list string
	}{
		"no other":            {},
		"an older one":        {others: []*telemetryv1.Telemetry{telemetryOf("x", 9)}},
		"a newer one":         {[]*telemetryv1.Telemetry{telemetryOf("x", 11)}, "x", "accessLogging"},
		"the newest of three": {[]*telemetryv1.Telemetry{telemetryOf("x", 11), telemetryOf("y", 12), telemetryOf("z", 9)}, "y", "accessLogging"},
		"equal age, later":    {[]*telemetryv1.Telemetry{telemetryOf("x", 10)}, "x", "accessLogging"},
		"equal age, earlier":  {others: []*telemetryv1.Telemetry{telemetryOf("a", 10)}},
		"another list": {others: []*telemetryv1.Telemetry{telemetryOf("x", 11, func(t *telemetryv1.Telemetry) {
			t.Spec.AccessLogging, t.Spec.Metrics = nil, []*telemetryapi.Metrics{{}}
		})}},
		"an older one sets the list": {others: []*telemetryv1.Telemetry{
			telemetryOf("x", 11, func(t *telemetryv1.Telemetry) { t.Spec.AccessLogging = nil }), telemetryOf("y", 9),
		}},
		"other pods": {others: []*telemetryv1.Telemetry{telemetryOf("x", 11, func(t *telemetryv1.Telemetry) {
			t.Spec.Selector.MatchLabels["app"] = "db"
		})}},
		"the namespace":     {others: []*telemetryv1.Telemetry{telemetryOf("x", 11, func(t *telemetryv1.Telemetry) { t.Spec.Selector = nil })}},
		"another namespace": {others: []*telemetryv1.Telemetry{telemetryOf("x", 11, func(t *telemetryv1.Telemetry) { t.Namespace = "other" })}},
	} {
		t.Run(name, func(t *testing.T) {
			got, list := meshpolicy.TelemetryAfter(own, append(tc.others, own), map[string]string{"app": "web", "version": "v1"})
			if got == nil && tc.want == "" {
				return
			}
			if got == nil || got.Name != tc.want || list != tc.list {
				t.Errorf("got %v, %q; want %q, %q", got, list, tc.want, tc.list)
			}
		})
	}
	both := func(t *telemetryv1.Telemetry) {
		t.Spec.AccessLogging, t.Spec.Tracing, t.Spec.Metrics = nil, []*telemetryapi.Tracing{{}}, []*telemetryapi.Metrics{{}}
	}
	if _, list := meshpolicy.TelemetryAfter(telemetryOf("web", 1, both), []*telemetryv1.Telemetry{telemetryOf("x", 2, both)}, map[string]string{"app": "web"}); list != "tracing" {
		t.Errorf("list is %q", list)
	}
}
