// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const virtualMachineCRD = "virtualmachines.kubevirt.io"

// TestFieldThatKubeVirtDoesNotHave applies a field that the CRDs of the
// cluster's KubeVirt do not have. The operator names the field and the version,
// and does not retry until the CRD changes.
func TestFieldThatKubeVirtDoesNotHave(t *testing.T) {
	s := start(t)
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
	crd.Name = virtualMachineCRD
	s.annotate(crd, kubevirtv1.InstallStrategyVersionAnnotation, "v1.7.0")
	o := s.web()
	template := &o.Spec.VirtualMachine.Template.Spec
	template.Volumes = append(template.Volumes, kubevirtv1.Volume{Name: "token", VolumeSource: kubevirtv1.VolumeSource{
		ContainerPath: &kubevirtv1.ContainerPathVolumeSource{Path: "/var/run/secrets/x"},
	}})
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	got := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonFieldUnsupported},
		want{v1alpha1.ConditionStalled, yes, v1alpha1.ReasonFieldUnsupported},
	)
	for _, c := range got.Status.Conditions {
		if c.Type != string(v1alpha1.ConditionVirtualMachineReady) {
			continue
		}
		t.Log(c.Message)
		for _, part := range []string{`spec.virtualMachine.template.spec.volumes[0].containerPath: `, "KubeVirt v1.7.0 in this cluster does not support this field"} {
			if !strings.Contains(c.Message, part) {
				t.Errorf("the message does not contain %q: %s", part, c.Message)
			}
		}
	}
	s.quiet()
	s.calls.reset(nil)
	time.Sleep(3 * time.Second) // The queue's back-off would retry several times in this time.
	if n := s.calls.count("apply", "virtualmachines"); n > 0 {
		t.Errorf("the VirtualMachine was applied %d times without an event", n)
	}
	s.annotate(crd, kubevirtv1.InstallStrategyVersionAnnotation, "v1.8.0")
	s.eventually("a changed CRD is detected", func() error {
		for _, c := range s.mvm(o.Name).Status.Conditions {
			if strings.Contains(c.Message, "v1.8.0") {
				return nil
			}
		}
		return errors.New("the version in the message is the previous one")
	})
}

// annotate sets an annotation.
func (s *suite) annotate(o client.Object, key, value string) {
	s.Helper()
	patch := `{"metadata":{"annotations":{"` + key + `":"` + value + `"}}}`
	if err := s.Patch(s.Context(), o, client.RawPatch("application/merge-patch+json", []byte(patch))); err != nil {
		s.Fatal(err)
	}
}

// TestInferredMatchers stores a VirtualMachine as KubeVirt's webhook does: with the
// name and the kind that it inferred from a volume.
func TestInferredMatchers(t *testing.T) {
	s := start(t)
	o := s.web()
	vm := &o.Spec.VirtualMachine
	vm.Template.Spec.Domain.Memory = nil
	vm.Instancetype = &kubevirtv1.InstancetypeMatcher{InferFromVolume: "root"}
	vm.Preference = &kubevirtv1.PreferenceMatcher{InferFromVolume: "root"}
	vm.Template.Spec.Volumes = []kubevirtv1.Volume{{Name: "root", VolumeSource: kubevirtv1.VolumeSource{DataVolume: &kubevirtv1.DataVolumeSource{Name: "web-root"}}}}
	s.converge(o)
	infer := func() {
		s.eventually("the webhook's form is stored", func() error {
			u, err := s.read(children.VirtualMachineKind, o.Name)
			if err != nil {
				return err
			}
			for field, name := range map[string]string{"instancetype": "u1.small", "preference": "fedora"} {
				m := map[string]any{"name": name, "kind": "VirtualMachineCluster" + field}
				if err := unstructured.SetNestedField(u.Object, m, "spec", field); err != nil {
					return err
				}
			}
			return s.Update(s.Context(), u)
		})
	}
	matcher := func(key string) string {
		u, err := s.read(children.VirtualMachineKind, o.Name)
		if err != nil {
			t.Fatal(err)
		}
		v, _, _ := unstructured.NestedString(u.Object, "spec", "instancetype", key)
		return v
	}
	infer()
	before := s.resourceVersion(o.Name)
	s.annotate(s.mvm(o.Name), "example.com/touched", "1") // This starts a reconcile.
	s.quiet()
	if after := s.resourceVersion(o.Name); after != before {
		t.Errorf("the VirtualMachine was written: %s, %s", before, after)
	}

	// Another edit keeps the inferred matcher.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.RunStrategy = new(kubevirtv1.RunStrategyManual)
	})
	s.eventually("the edit is applied", func() error {
		if s.resourceVersion(o.Name) == before {
			return errors.New("not written")
		}
		return nil
	})
	s.quiet()
	if name := matcher("name"); name != "u1.small" || matcher("inferFromVolume") != "" {
		t.Errorf("instancetype %q, inferred from %q", name, matcher("inferFromVolume"))
	}

	// The matcher is inferred from another volume.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.Instancetype.InferFromVolume = "data"
	})
	s.eventually("the matcher of the spec is applied", func() error {
		if matcher("inferFromVolume") != "data" {
			return errors.New("not applied")
		}
		return nil
	})
}

// TestExpandedMatchers changes a VirtualMachine as KubeVirt does with the reference policy
// expand: it replaces the instancetype with its fields, and rejects a VirtualMachine with
// both (KubeVirt, pkg/instancetype/expand).
func TestExpandedMatchers(t *testing.T) {
	s := start(t)
	o := s.web()
	vm := &o.Spec.VirtualMachine
	vm.Template.Spec.Domain.Memory = nil
	vm.Instancetype = &kubevirtv1.InstancetypeMatcher{Name: "u1.small"}
	vm.Preference = &kubevirtv1.PreferenceMatcher{Name: "fedora"}
	s.converge(o)
	s.eventually("the expanded form is stored", func() error {
		u, err := s.read(children.VirtualMachineKind, o.Name)
		if err != nil {
			return err
		}
		for _, field := range []string{"instancetype", "preference"} {
			unstructured.RemoveNestedField(u.Object, "spec", field)
		}
		domain := []string{"spec", "template", "spec", "domain"}
		cpu := map[string]any{"sockets": int64(1), "cores": int64(1), "threads": int64(1)}
		if err := errors.Join(unstructured.SetNestedMap(u.Object, cpu, append(domain, "cpu")...),
			unstructured.SetNestedMap(u.Object, map[string]any{"guest": "2Gi"}, append(domain, "memory")...)); err != nil {
			return err
		}
		return s.Update(s.Context(), u, client.FieldOwner("virt-controller"))
	})
	name := func() string {
		u, err := s.read(children.VirtualMachineKind, o.Name)
		if err != nil {
			t.Fatal(err)
		}
		v, _, _ := unstructured.NestedString(u.Object, "spec", "instancetype", "name")
		return v
	}
	before := s.resourceVersion(o.Name)
	s.annotate(s.mvm(o.Name), "example.com/touched", "1") // This starts a reconcile.
	s.quiet()
	if after := s.resourceVersion(o.Name); after != before {
		t.Errorf("the VirtualMachine was written: %s, %s", before, after)
	}

	// Another edit does not restore the matcher.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.RunStrategy = new(kubevirtv1.RunStrategyManual)
	})
	s.eventually("the edit is applied", func() error {
		if s.resourceVersion(o.Name) == before {
			return errors.New("not written")
		}
		return nil
	})
	s.quiet()
	if got := name(); got != "" {
		t.Errorf("instancetype %q of the VirtualMachine that KubeVirt expanded", got)
	}

	// Another instancetype is applied.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.VirtualMachine.Instancetype.Name = "u1.large" })
	s.eventually("the instancetype of the spec is applied", func() error {
		if name() != "u1.large" {
			return errors.New("not applied")
		}
		return nil
	})
}

func (s *suite) resourceVersion(name string) string {
	s.Helper()
	u, err := s.read(children.VirtualMachineKind, name)
	if err != nil {
		s.Fatal(err)
	}
	return u.GetResourceVersion()
}
