// SPDX-License-Identifier: Apache-2.0

package natplan_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/validate"
)

// TestDataPlaneOfThePod checks that the data plane is the one of the pod, which
// keeps it until the guest is restarted, even if the spec has changed.
func TestDataPlaneOfThePod(t *testing.T) {
	vmi := b.VMI("web").Obj()
	for name, tc := range map[string]struct {
		spec v1alpha1.DataPlane
		pod  *b.PodBuilder
		want v1alpha1.PodNATConfigurationSpec
	}{
		"sidecar":                      {"", b.LauncherPod(vmi, "a").IP("10.244.0.8"), v1alpha1.PodNATConfigurationSpec{}},
		"sidecar, ambient in the spec": {v1alpha1.DataPlaneAmbient, b.LauncherPod(vmi, "a").IP("10.244.0.8"), v1alpha1.PodNATConfigurationSpec{}},
		"ambient": {v1alpha1.DataPlaneAmbient, b.LauncherPod(vmi, "a").IP("10.244.0.8").Ambient("enabled", false), v1alpha1.PodNATConfigurationSpec{
			DataPlane: v1alpha1.DataPlaneAmbient, Proxy: v1alpha1.ProxyPorts{LocalPorts: validate.AmbientLocalPorts},
		}},
		"ambient, sidecar in the spec": {"", b.LauncherPod(vmi, "a").IP("10.244.0.8").Ambient("enabled", true), v1alpha1.PodNATConfigurationSpec{
			DataPlane: v1alpha1.DataPlaneAmbient, Proxy: v1alpha1.ProxyPorts{LocalPorts: validate.AmbientLocalPorts, DNSPort: 15053},
		}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := natplan.ConfigurationSpec(b.MVM("web").DataPlane(tc.spec).Obj(), natplan.Facts{Pod: tc.pod.Obj(), VMI: vmi})
			if err != nil {
				t.Fatal(err)
			}
			want := tc.want
			if want.Proxy.LocalPorts == nil {
				want.Proxy.LocalPorts = validate.ProxyLocalPorts
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
