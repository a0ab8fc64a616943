// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
	"meshvm.io/meshvm/internal/validate/validatetest"
)

// TestIdentity checks the service account of a guest in a cluster that has the service
// accounts db of the namespaces shop and other, and web of the namespace other.
func TestIdentity(t *testing.T) {
	const path = "spec.mesh.identity.serviceAccountName"
	guest := func() *b.MVMBuilder { return b.MVM("web").Identity("db") }
	volume := func(account string) func(*kubevirtv1.VirtualMachineSpec) {
		return func(s *kubevirtv1.VirtualMachineSpec) {
			s.Template.Spec.Volumes = append(s.Template.Spec.Volumes, kubevirtv1.Volume{Name: "account", VolumeSource: kubevirtv1.VolumeSource{
				ServiceAccount: &kubevirtv1.ServiceAccountVolumeSource{ServiceAccountName: account},
			}})
		}
	}
	field := func(account string) func(*kubevirtv1.VirtualMachineSpec) {
		return func(s *kubevirtv1.VirtualMachineSpec) { s.Template.Spec.ServiceAccountName = account }
	}
	for name, tc := range map[string]struct {
		mvm            *b.MVMBuilder
		withoutWebhook bool
		want           []string
	}{
		"not set":                             {mvm: b.MVM("web")},
		"not set, without the webhook":        {mvm: b.MVM("web"), withoutWebhook: true},
		"an account":                          {mvm: guest()},
		"an account that does not exist":      {mvm: b.MVM("web").Identity("missing"), want: []string{"ServiceAccountNotFound " + path}},
		"an account of another namespace":     {mvm: b.MVM("web").Identity("web"), want: []string{"ServiceAccountNotFound " + path}},
		"the path of another namespace":       {mvm: b.MVM("web").Identity("other/web"), want: []string{"InvalidSpec " + path}},
		"a long name":                         {mvm: b.MVM("web").Identity(strings.Repeat("a", 254)), want: []string{"InvalidSpec " + path}},
		"without the webhook":                 {mvm: guest(), withoutWebhook: true, want: []string{"InvalidSpec " + path}},
		"KubeVirt's field without webhook":    {mvm: guest().VM(field("db")), withoutWebhook: true},
		"another account in KubeVirt's field": {mvm: guest().VM(field("other")), want: []string{"InvalidSpec " + path}},
		"the account of a volume":             {mvm: guest().VM(volume("db"))},
		"another account of a volume":         {mvm: guest().VM(volume("other")), want: []string{"InvalidSpec " + path}},
		"only the account of a volume":        {mvm: b.MVM("web").VM(volume("other"))},
		"the operator's annotation": {
			mvm:  b.MVM("web").TemplateAnnotation(v1alpha1.AnnotationServiceAccount, "db"),
			want: []string{"InvalidSpec spec.virtualMachine.template.metadata.annotations[" + v1alpha1.AnnotationServiceAccount + "]"},
		},
		"ambient": {mvm: guest().DataPlane(v1alpha1.DataPlaneAmbient)},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := validate.Cluster{
				WithoutWebhook: tc.withoutWebhook,
				HasServiceAccount: func(namespace, name string) bool {
					return name == "db" && (namespace == b.DefaultNamespace || namespace == "other") || name == "web" && namespace == "other"
				},
			}
			if diff := cmp.Diff(tc.want, validatetest.Rejections(validate.SpecIn(cluster, tc.mvm.Obj()))); diff != "" {
				t.Errorf("rejections (-want +got):\n%s", diff)
			}
		})
	}
}
