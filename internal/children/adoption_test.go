// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
)

// adopter returns the input for an object that adopts the VirtualMachine db.
func adopter(change func(*v1alpha1.MeshedVirtualMachineSpec)) children.Input {
	mvm := b.MVM("database").Ports(b.TCP("db", 5432)).Obj()
	mvm.Spec.VirtualMachine = kubevirtv1.VirtualMachineSpec{}
	mvm.Spec.ExistingVirtualMachine.Name = "db"
	if change != nil {
		change(&mvm.Spec)
	}
	return children.Input{MVM: mvm}
}

func unstructuredVM(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// TestAdoption computes the labels and annotations that are added to templates.
func TestAdoption(t *testing.T) {
	for name, tc := range map[string]struct {
		in       children.Input
		template string
		want     children.TemplateMetadata
	}{
		"a template without metadata": {adopter(nil), `{}`, children.TemplateMetadata{
			Labels: map[string]string{
				"meshvm.io/meshed-virtual-machine": "database", "meshvm.io/service": "database", "meshvm.io/start-gate": "Container",
				"sidecar.istio.io/inject": "true", "version": "v1",
			},
			Annotations: map[string]string{"sidecar.istio.io/inject": "true"},
		}},
		// The values of the user stay the user's.
		"a template with a sidecar": {
			adopter(func(s *v1alpha1.MeshedVirtualMachineSpec) {
				s.Version, s.Service.Name, s.Start, s.Capture.DNS = "v2", "shop", v1alpha1.StartPolicyImmediate, v1alpha1.DNSPolicyProxy
			}),
			`{metadata: {labels: {app: db, sidecar.istio.io/inject: "true", version: v2}, annotations: {sidecar.istio.io/inject: "true", proxy.istio.io/config: "{}"}}}`,
			children.TemplateMetadata{
				Labels:      map[string]string{"meshvm.io/meshed-virtual-machine": "database", "meshvm.io/service": "shop", "meshvm.io/start-gate": "Watch"},
				Annotations: map[string]string{},
			},
		},
		// Server-side apply reports the conflict.
		"another version": {adopter(nil), `{metadata: {labels: {version: v3, sidecar.istio.io/inject: "true"}}}`, children.TemplateMetadata{
			Labels:      map[string]string{"meshvm.io/meshed-virtual-machine": "database", "meshvm.io/service": "database", "meshvm.io/start-gate": "Container", "version": "v1"},
			Annotations: map[string]string{"sidecar.istio.io/inject": "true"},
		}},
		"ambient": {adopter(func(s *v1alpha1.MeshedVirtualMachineSpec) { s.Mesh.DataPlane = v1alpha1.DataPlaneAmbient }), `{}`, children.TemplateMetadata{
			Labels: map[string]string{
				"meshvm.io/meshed-virtual-machine": "database", "meshvm.io/service": "database", "meshvm.io/start-gate": "Container",
				"sidecar.istio.io/inject": "false", "istio.io/dataplane-mode": "ambient", "version": "v1",
			},
			Annotations: map[string]string{"ambient.istio.io/dns-capture": "false"},
		}},
		// The operator does not change the start strategy of an existing VirtualMachine.
		"start gate Pause": {
			func() children.Input {
				in := adopter(nil)
				in.StartGate = children.StartGatePause
				return in
			}(),
			`{metadata: {labels: {sidecar.istio.io/inject: "true", version: v1}, annotations: {sidecar.istio.io/inject: "true"}}}`,
			children.TemplateMetadata{
				Labels:      map[string]string{"meshvm.io/meshed-virtual-machine": "database", "meshvm.io/service": "database"},
				Annotations: map[string]string{},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var template kubevirtv1.VirtualMachineInstanceTemplateSpec
			if err := yaml.Unmarshal([]byte(tc.template), &template); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, children.Adoption(tc.in, &template)); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// adopted returns the input for an object that adopts a running guest, whose pod does not have
// the operator's labels.
func adopted() children.Input {
	in := adopter(func(s *v1alpha1.MeshedVirtualMachineSpec) {
		s.Ports = append(s.Ports, v1alpha1.Port{Name: "http", Port: 80, MaxConnections: 10})
		s.Mesh.Allow = []v1alpha1.AllowedClient{{Namespace: "shop"}}
		s.Mesh.Egress.Outbound = v1alpha1.OutboundModeRegistryOnly
	})
	in.MVM.Name, in.MVM.UID = "web", b.UID("mvm", "web")
	return runningBefore(in.MVM)
}

// runningBefore returns the input for an object that adopts a guest that was started before.
func runningBefore(mvm *v1alpha1.MeshedVirtualMachine) children.Input {
	in := children.Input{MVM: mvm, VMI: b.VMI(mvm.VirtualMachineName()).Obj()}
	pod := b.LauncherPod(in.VMI, "abcde").Node("node-1").IP("10.244.0.8").Obj()
	for _, key := range []string{v1alpha1.LabelMeshedVirtualMachine, v1alpha1.LabelService, v1alpha1.LabelVersion} {
		delete(pod.Labels, key)
	}
	in.LauncherPods = append(in.LauncherPods, *pod)
	return in
}

// TestWithoutAdoption removes what only the operator owns. test/integration compares the
// result for templates of every form with the API server.
func TestWithoutAdoption(t *testing.T) {
	const text = `
metadata:
  name: db
  managedFields:
  - {manager: kubectl, operation: Update, fieldsV1: {"f:spec": {"f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:version": {}}}}}}}
  - {manager: meshvm-adoption, operation: Apply, fieldsV1: {"f:spec": {"f:template": {"f:metadata": {
      "f:labels": {"f:version": {}, "f:sidecar.istio.io/inject": {}}, "f:annotations": {"f:sidecar.istio.io/inject": {}}}}}}}
spec:
  template:
    metadata:
      labels: {app: db, version: v1, sidecar.istio.io/inject: "true", meshvm.io/service: database}
      annotations: {sidecar.istio.io/inject: "true"}
    spec: {}
`
	got := children.WithoutAdoption(unstructuredVM(t, text))
	want := unstructuredVM(t, `
metadata:
  name: db
  managedFields:
  - {manager: kubectl, operation: Update, fieldsV1: {"f:spec": {"f:template": {"f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:version": {}}}}}}}
spec: {template: {metadata: {labels: {app: db, version: v1}}, spec: {}}}
`)
	if diff := cmp.Diff(want.Object, got.Object); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
