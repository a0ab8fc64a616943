// SPDX-License-Identifier: Apache-2.0

package natplan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
)

// TestDataPlaneOfThePod takes the data plane from the pod, which keeps it until
// the guest is restarted, whatever the spec reports.
func TestDataPlaneOfThePod(t *testing.T) {
	vmi := b.VMI("web").Obj()
	for name, tc := range map[string]struct {
		spec v1alpha1.DataPlane
		pod  *b.PodBuilder
		want v1alpha1.PodNATConfigurationSpec
	}{
		"sidecar":                    {"", b.LauncherPod(vmi, "a").IP("10.244.0.8"), v1alpha1.PodNATConfigurationSpec{}},
		"sidecar, ambient next time": {v1alpha1.DataPlaneAmbient, b.LauncherPod(vmi, "a").IP("10.244.0.8"), v1alpha1.PodNATConfigurationSpec{}},
		"ambient": {v1alpha1.DataPlaneAmbient, b.LauncherPod(vmi, "a").IP("10.244.0.8").Ambient("enabled", false), v1alpha1.PodNATConfigurationSpec{
			DataPlane: v1alpha1.DataPlaneAmbient, Proxy: v1alpha1.ProxyPorts{LocalPorts: natplan.AmbientLocalPorts},
		}},
		"ambient, sidecar next time": {"", b.LauncherPod(vmi, "a").IP("10.244.0.8").Ambient("enabled", true), v1alpha1.PodNATConfigurationSpec{
			DataPlane: v1alpha1.DataPlaneAmbient, Proxy: v1alpha1.ProxyPorts{LocalPorts: natplan.AmbientLocalPorts, DNSPort: 15053},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := natplan.ConfigurationSpec(b.MVM("web").DataPlane(tc.spec).Obj(), natplan.Facts{Pod: tc.pod.Obj(), VMI: vmi})
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want
			if want.Proxy.LocalPorts == nil {
				want.Proxy.LocalPorts = natplan.ProxyLocalPorts
			}
			if got.DataPlane != want.DataPlane || got.Proxy.DNSPort != want.Proxy.DNSPort {
				t.Errorf("%s, DNS port %d", got.DataPlane, got.Proxy.DNSPort)
			}
			if diff := cmp.Diff(want.Proxy.LocalPorts, got.Proxy.LocalPorts); diff != "" {
				t.Errorf("local ports (-want +got):\n%s", diff)
			}
			plan, err := natplan.Plan(got, []string{"10.244.0.8"})
			if err != nil {
				t.Fatal(err)
			}
			if ambient := plan.DataPlane == ruleio.DataPlaneAmbient; ambient != (want.DataPlane == v1alpha1.DataPlaneAmbient) {
				t.Errorf("plan for %q", plan.DataPlane)
			}
			got.Proxy.LocalPorts = got.Proxy.LocalPorts[1:]
			if _, err := natplan.Plan(got, []string{"10.244.0.8"}); err == nil {
				t.Error("a plan without one of the proxy's ports was accepted")
			}
		})
	}
}

// TestCheckDataPlane refuses what a data plane cannot do.
func TestCheckDataPlane(t *testing.T) {
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
		"ambient, spelled out":                 {ambient().TemplateLabel(mode, "ambient").TemplateLabel(inject, "false").TemplateAnnotation(inject, "false"), ""},
		"ambient, labelled to be out of it":    {ambient().TemplateLabel(mode, "none"), labels + "[" + mode + "]"},
		"ambient with a sidecar's label":       {ambient().TemplateLabel(inject, "true"), labels + "[" + inject + "]"},
		"ambient with a sidecar's annotation":  {ambient().TemplateAnnotation(inject, "True"), annotations + "[" + inject + "]"},
		"ambient without mutual TLS":           {ambient().MTLS(v1alpha1.MTLSModeDisable), "spec.mesh.mtls.mode"},
		"ambient, a port without mutual TLS":   {ambient().PortMTLS("http", v1alpha1.MTLSModeDisable), "spec.mesh.mtls.ports[0].mode"},
		"ambient, weaker mutual TLS":           {ambient().MTLS(v1alpha1.MTLSModePermissive), ""},
		"ambient, nothing inbound":             {ambient().TemplateAnnotation("ambient.istio.io/bypass-inbound-capture", "true"), annotations + "[ambient.istio.io/bypass-inbound-capture]"},
		"ambient, DNS by annotation":           {ambient().TemplateAnnotation("ambient.istio.io/dns-capture", "true"), annotations + "[ambient.istio.io/dns-capture]"},
		"ambient, DNS by annotation and field": {ambient().DNS(v1alpha1.DNSPolicyProxy).TemplateAnnotation("ambient.istio.io/dns-capture", "true"), ""},
		"ambient, enrolled by annotation":      {ambient().TemplateAnnotation(redirection, "enabled"), annotations + "[" + redirection + "]"},
		"sidecar, enrolled by annotation":      {b.MVM("web").TemplateAnnotation(redirection, "enabled"), annotations + "[" + redirection + "]"},
		"ambient, a sidecar's configuration":   {ambient().DNS(v1alpha1.DNSPolicyProxy).TemplateAnnotation("proxy.istio.io/config", "{}"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := natplan.CheckSpec(tc.mvm.Obj())
			got := ""
			if invalid, ok := natplan.FirstInvalid(err); ok {
				got = invalid.Field
			}
			if got != tc.want {
				t.Errorf("refused %q (%v), want %q", got, err, tc.want)
			}
		})
	}
}
