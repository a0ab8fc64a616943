// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"testing"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
)

// TestDataPlane checks the settings, labels and annotations that contradict a
// data plane.
func TestDataPlane(t *testing.T) {
	ambient := func() *b.MVMBuilder { return b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient) }
	const (
		labels, annotations = "spec.virtualMachine.template.metadata.labels", "spec.virtualMachine.template.metadata.annotations"
		mode, inject        = "istio.io/dataplane-mode", "sidecar.istio.io/inject"
		redirection         = "ambient.istio.io/redirection"
	)
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want string
	}{
		"sidecar":                              {b.MVM("web").DataPlane(v1alpha1.DataPlaneSidecar), ""},
		"sidecar, kept out of ambient mode":    {b.MVM("web").TemplateLabel(mode, "none"), ""},
		"sidecar, labelled for ambient mode":   {b.MVM("web").TemplateLabel(mode, "ambient"), labels + "[" + mode + "]"},
		"neither":                              {b.MVM("web").DataPlane("Waypoint"), "spec.mesh.dataPlane"},
		"ambient":                              {ambient(), ""},
		"ambient, with label":                  {ambient().TemplateLabel(mode, "ambient").TemplateLabel(inject, "false").TemplateAnnotation(inject, "false"), ""},
		"ambient, labelled to be out of it":    {ambient().TemplateLabel(mode, "none"), labels + "[" + mode + "]"},
		"ambient with a sidecar's label":       {ambient().TemplateLabel(inject, "true"), labels + "[" + inject + "]"},
		"ambient with a sidecar's annotation":  {ambient().TemplateAnnotation(inject, "True"), annotations + "[" + inject + "]"},
		"ambient without mutual TLS":           {ambient().MTLS(v1alpha1.MTLSModeDisable), "spec.mesh.mtls.mode"},
		"ambient, a port without mutual TLS":   {ambient().PortMTLS("http", v1alpha1.MTLSModeDisable), "spec.ports[0].mtls"},
		"ambient, weaker mutual TLS":           {ambient().MTLS(v1alpha1.MTLSModePermissive), ""},
		"ambient, nothing inbound":             {ambient().TemplateAnnotation("ambient.istio.io/bypass-inbound-capture", "true"), annotations + "[ambient.istio.io/bypass-inbound-capture]"},
		"ambient, DNS by annotation":           {ambient().TemplateAnnotation("ambient.istio.io/dns-capture", "true"), annotations + "[ambient.istio.io/dns-capture]"},
		"ambient, DNS by annotation and field": {ambient().DNS(v1alpha1.DNSPolicyProxy).TemplateAnnotation("ambient.istio.io/dns-capture", "true"), ""},
		"ambient, enrolled by annotation":      {ambient().TemplateAnnotation(redirection, "enabled"), annotations + "[" + redirection + "]"},
		"sidecar, enrolled by annotation":      {b.MVM("web").TemplateAnnotation(redirection, "enabled"), annotations + "[" + redirection + "]"},
		"ambient, a sidecar's configuration":   {ambient().DNS(v1alpha1.DNSPolicyProxy).TemplateAnnotation("proxy.istio.io/config", "{}"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate.Spec(tc.mvm.Obj())
			got := ""
			if invalid, ok := validate.FirstInvalid(err); ok {
				got = invalid.Field
			}
			if got != tc.want {
				t.Errorf("rejected field %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}
