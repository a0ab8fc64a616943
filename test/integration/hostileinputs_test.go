// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/startgate"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestGateOfForgedPods creates pods with the labels of virt-launcher pods that request a
// gate but belong to no guest, as a user with the role "edit" can. The gate of such a pod
// never opens, or the pod has none, and no rules are written.
func TestGateOfForgedPods(t *testing.T) {
	s := start(t)
	s.converge(s.web())
	s.serveGate()
	before := s.onlyNAT()
	ask := map[string]string{kubevirtv1.AppLabel: "virt-launcher", v1alpha1.LabelStartGate: v1alpha1.StartGateContainer}
	for name, tc := range map[string]struct {
		labels map[string]string
		init   []corev1.Container
		gated  bool
	}{
		"of an existing MeshedVirtualMachine":      {labels: map[string]string{v1alpha1.LabelMeshedVirtualMachine: "web"}, gated: true},
		"of a missing MeshedVirtualMachine":        {labels: map[string]string{v1alpha1.LabelMeshedVirtualMachine: "missing"}},
		"without the label":                        {gated: true},
		"with a container of the name of the gate": {init: []corev1.Container{{Name: startgate.Container, Image: "x"}}},
	} {
		t.Run(name, func(t *testing.T) {
			pod := &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: "forged-", Labels: maps.Clone(ask)},
				Spec:       corev1.PodSpec{NodeName: "node-a", InitContainers: tc.init, Containers: []corev1.Container{{Name: "compute", Image: "x"}}},
			}
			maps.Copy(pod.Labels, tc.labels)
			if err := s.Create(s.Context(), pod); err != nil {
				t.Fatal(err)
			}
			if got := startgate.HasGate(pod) && len(tc.init) == 0; got != tc.gated {
				t.Errorf("the webhook added a gate: %t, want %t", got, tc.gated)
			}
			s.quiet()
			if nat := s.onlyNAT(); nat.UID != before.UID || nat.Generation != before.Generation {
				t.Errorf("the PodNATConfigurations changed: %s", nat.Name)
			}
			s.end(pod)
		})
	}
}

// large returns a guest whose spec contains a cloud-init script of the given size.
func (s *suite) large(name string, size int) *v1alpha1.MeshedVirtualMachine {
	o := s.web()
	o.Name = name
	spec := &o.Spec.VirtualMachine.Template.Spec
	spec.Volumes = append(spec.Volumes, kubevirtv1.Volume{Name: "cloud-init", VolumeSource: kubevirtv1.VolumeSource{
		CloudInitNoCloud: &kubevirtv1.CloudInitNoCloudSource{UserData: strings.Repeat("x", size)},
	}})
	spec.Domain.Devices.Disks = append(spec.Domain.Devices.Disks, kubevirtv1.Disk{Name: "cloud-init"})
	return o
}

// TestLargeSpecs creates specs up to the limit of etcd. A spec of 1.4 MB is carried out.
// Larger objects cannot be stored, so that the operator can write neither the
// VirtualMachine nor the status, and this must not delay other objects.
func TestLargeSpecs(t *testing.T) {
	s := start(t)
	if err := s.Create(s.Context(), s.large("large", 1_400_000)); err != nil {
		t.Fatal(err)
	}
	s.awaitMVM("large", want{v1alpha1.ConditionServiceReady, yes, ""})
	script := func(vm *kubevirtv1.VirtualMachine) int {
		volumes := vm.Spec.Template.Spec.Volumes
		return len(volumes[len(volumes)-1].CloudInitNoCloud.UserData)
	}
	if got := script(s.awaitVM("large")); got != 1_400_000 {
		t.Errorf("the VirtualMachine has %d bytes of the script", got)
	}
	// The largest object that the API server stores.
	size := 1 << 20 * 3 / 2
	for s.Create(s.Context(), s.large("largest", size)) != nil {
		if size -= 500; size < 1_400_000 {
			t.Fatal("no larger object is stored")
		}
	}
	t.Logf("the largest script has %d bytes", size)
	s.converge(s.web())
}

// TestLargeAnnotations sets annotations of the maximum size on every object that a tenant
// can write. The API server rejects larger ones.
func TestLargeAnnotations(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	const key, limit = "example.com/large", 256 << 10
	for name, target := range map[string]client.Object{
		o.Name: o, pod.Name: pod,
		"vm":  &kubevirtv1.VirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: o.Name}},
		"vmi": &kubevirtv1.VirtualMachineInstance{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: o.Name}},
	} {
		for size, stored := range map[int]bool{2 << 20: false, limit - 4<<10: true} {
			patch := `{"metadata":{"annotations":{"` + key + `":"` + strings.Repeat("x", size) + `"}}}`
			err := s.Patch(s.Context(), target.DeepCopyObject().(client.Object), client.RawPatch("application/merge-patch+json", []byte(patch)))
			if (err == nil) != stored || err != nil && !apierrors.IsInvalid(err) && !apierrors.IsRequestEntityTooLargeError(err) {
				t.Errorf("%s with %d bytes: %v", name, size, err)
			}
		}
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Version = "v2" })
	s.awaitMVM(o.Name, want{v1alpha1.ConditionRestartRequired, yes, ""}, want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed})
}
