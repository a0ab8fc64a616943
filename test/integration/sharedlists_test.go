// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/ptr"
	kubevirtv1 "kubevirt.io/api/core/v1"
	cdiv1 "kubevirt.io/containerized-data-importer-api/pkg/apis/core/v1beta1"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// rootVolume returns the root volume, which uses a DataVolume.
func rootVolume(dv string) kubevirtv1.Volume {
	return kubevirtv1.Volume{Name: "root", VolumeSource: kubevirtv1.VolumeSource{DataVolume: &kubevirtv1.DataVolumeSource{Name: dv}}}
}

// hotplugged returns a volume as KubeVirt adds it.
func hotplugged(name string) kubevirtv1.Volume {
	v := kubevirtv1.Volume{Name: name}
	v.PersistentVolumeClaim = &kubevirtv1.PersistentVolumeClaimVolumeSource{Hotpluggable: true}
	v.PersistentVolumeClaim.ClaimName = name
	return v
}

func emptyDisk(name string) kubevirtv1.Volume {
	return kubevirtv1.Volume{Name: name, VolumeSource: kubevirtv1.VolumeSource{EmptyDisk: &kubevirtv1.EmptyDiskSource{}}}
}

func virtioDisk(name string) kubevirtv1.Disk {
	return kubevirtv1.Disk{Name: name, DiskDevice: kubevirtv1.DiskDevice{Disk: &kubevirtv1.DiskTarget{Bus: kubevirtv1.DiskBusVirtio}}}
}

func blankTemplate(name string) kubevirtv1.DataVolumeTemplateSpec {
	t := kubevirtv1.DataVolumeTemplateSpec{}
	t.Name = name
	t.Spec.Source = &cdiv1.DataVolumeSource{Blank: &cdiv1.DataVolumeBlankImage{}}
	t.Spec.Storage = &cdiv1.StorageSpec{}
	return t
}

// stateful returns a guest with a root disk on a DataVolume.
func (s *suite) stateful() *v1alpha1.MeshedVirtualMachine {
	o := s.web()
	vm := &o.Spec.VirtualMachine
	vm.DataVolumeTemplates = []kubevirtv1.DataVolumeTemplateSpec{blankTemplate("web-root")}
	vm.Template.Spec.Volumes = []kubevirtv1.Volume{rootVolume("web-root")}
	vm.Template.Spec.Domain.Devices.Disks = []kubevirtv1.Disk{virtioDisk("root")}
	return o
}

// editVM changes a VirtualMachine as another client with a field manager does.
func (s *suite) editVM(name, manager string, change func(*kubevirtv1.VirtualMachine)) {
	s.Helper()
	// The operator and the garbage collector can write the object in between.
	if err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		before := s.awaitVM(name)
		after := before.DeepCopy()
		change(after)
		return s.Patch(s.Context(), after, client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}), client.FieldOwner(manager))
	}); err != nil {
		s.Fatal(err)
	}
}

// summary lists the names of volumes with their claims, disks, templates,
// interfaces and networks.
func summary(vm *kubevirtv1.VirtualMachine) string {
	var out []string
	for _, t := range vm.Spec.DataVolumeTemplates {
		out = append(out, "template "+t.Name)
	}
	spec := vm.Spec.Template.Spec
	for _, v := range spec.Volumes {
		switch {
		case v.DataVolume != nil:
			out = append(out, "volume "+v.Name+"="+v.DataVolume.Name)
		case v.PersistentVolumeClaim != nil:
			out = append(out, "volume "+v.Name+"="+v.PersistentVolumeClaim.ClaimName)
		default:
			out = append(out, "volume "+v.Name)
		}
	}
	for _, d := range spec.Domain.Devices.Disks {
		out = append(out, "disk "+d.Name)
	}
	for _, i := range spec.Domain.Devices.Interfaces {
		out = append(out, "interface "+i.Name)
	}
	for _, n := range spec.Networks {
		out = append(out, "network "+n.Name)
	}
	return strings.Join(out, ", ")
}

const network = ", interface default, network default"

// awaitLists waits until the VirtualMachine has the lists and the operator is idle.
func (s *suite) awaitLists(name, want string) {
	s.Helper()
	s.eventually("the VirtualMachine has the lists", func() error {
		if got := summary(s.awaitVM(name)); got != want {
			return fmt.Errorf("got  %s\nwant %s", got, want)
		}
		return nil
	})
	s.quiet()
	if got := summary(s.awaitVM(name)); got != want {
		s.Errorf("the operator changed the lists:\ngot  %s\nwant %s", got, want)
	}
}

// adjusted waits until the condition VirtualMachineAdjusted is present and contains
// the texts, or, without texts, is absent.
func (s *suite) adjusted(name string, texts ...string) {
	s.Helper()
	s.eventually(fmt.Sprintf("VirtualMachineAdjusted contains %q", texts), func() error {
		c := meta.FindStatusCondition(s.mvm(name).Status.Conditions, string(v1alpha1.ConditionVirtualMachineAdjusted))
		switch {
		case c == nil && len(texts) == 0:
			return nil
		case c == nil:
			return errors.New("not found")
		case len(texts) == 0:
			return fmt.Errorf("it is present: %s", c.Message)
		}
		for _, text := range texts {
			if !strings.Contains(c.Message, text) {
				return fmt.Errorf("%q not in %q", text, c.Message)
			}
		}
		return nil
	})
}

// vmWrites returns the number of the operator's writes to VirtualMachines.
func (s *suite) vmWrites() int {
	return s.calls.count("apply", "virtualmachines") + s.calls.count("patch", "virtualmachines")
}

func TestHotplugIsKept(t *testing.T) {
	s := start(t)
	o := s.stateful()
	s.converge(o)
	s.quiet()
	s.calls.reset(nil)
	// virt-controller writes a volume request into the spec, and a user adds an
	// interface.
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) {
		spec := &vm.Spec.Template.Spec
		spec.Volumes = append(spec.Volumes, hotplugged("x"))
		spec.Domain.Devices.Disks = append(spec.Domain.Devices.Disks, virtioDisk("x"))
	})
	s.editVM(o.Name, "addinterface", func(vm *kubevirtv1.VirtualMachine) {
		spec := &vm.Spec.Template.Spec
		spec.Networks = append(spec.Networks, kubevirtv1.Network{Name: "b", NetworkSource: kubevirtv1.NetworkSource{Multus: &kubevirtv1.MultusNetwork{NetworkName: "nad"}}})
		spec.Domain.Devices.Interfaces = append(spec.Domain.Devices.Interfaces, kubevirtv1.Interface{Name: "b", InterfaceBindingMethod: kubevirtv1.InterfaceBindingMethod{Bridge: &kubevirtv1.InterfaceBridge{}}})
	})
	s.adjusted(o.Name, "volumes[x] was added (field manager virt-controller)", "networks[b] was added (field manager addinterface)", "spec.virtualMachine", "virtctl addvolume or removevolume")
	s.awaitLists(o.Name, "template web-root, volume root=web-root, volume x=x, disk root, disk x, interface default, interface b, network default, network b")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if n := s.vmWrites(); n != 0 {
		t.Errorf("%d writes to the VirtualMachine, want none:\n%s", n, s.calls.table())
	}

	// The user adds an entry to the spec and later removes it.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		vm := &spec.VirtualMachine.Template.Spec
		vm.Volumes = append(vm.Volumes, emptyDisk("scratch"))
		vm.Domain.Devices.Disks = append(vm.Domain.Devices.Disks, virtioDisk("scratch"))
	})
	s.awaitLists(o.Name, "template web-root, volume root=web-root, volume x=x, volume scratch, disk root, disk x, disk scratch, interface default, interface b, network default, network b")
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		vm := &spec.VirtualMachine.Template.Spec
		vm.Volumes, vm.Domain.Devices.Disks = vm.Volumes[:1], vm.Domain.Devices.Disks[:1]
	})
	s.awaitLists(o.Name, "template web-root, volume root=web-root, volume x=x, disk root, disk x, interface default, interface b, network default, network b")
	if n := s.vmWrites(); n != 2 {
		t.Errorf("%d writes for two edits, want 2", n)
	}

	// A client removes the label that marks the operator's objects, so that the
	// operator's cache no longer contains the spec, and changes the binding.
	s.editVM(o.Name, "kubectl-edit", func(vm *kubevirtv1.VirtualMachine) {
		delete(vm.Labels, v1alpha1.LabelManagedBy)
		i := &vm.Spec.Template.Spec.Domain.Devices.Interfaces[0]
		i.Masquerade, i.Bridge, i.MacAddress = nil, &kubevirtv1.InterfaceBridge{}, "02:00:00:00:00:01"
	})
	s.eventually("the binding is restored", func() error {
		vm := s.awaitVM(o.Name)
		if i := vm.Spec.Template.Spec.Domain.Devices.Interfaces[0]; i.Masquerade == nil || i.Bridge != nil || i.MacAddress == "" || vm.Labels[v1alpha1.LabelManagedBy] == "" {
			return fmt.Errorf("labels %v, interface %+v", vm.Labels, i)
		}
		return nil
	})
	s.awaitLists(o.Name, "template web-root, volume root=web-root, volume x=x, disk root, disk x, interface default, interface b, network default, network b")
	if n := s.vmWrites(); n != 3 {
		t.Errorf("%d writes, want 3: one for each of two edits and one for the changed binding", n)
	}

	// The second way out: the entries are removed from the VirtualMachine.
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) {
		spec := &vm.Spec.Template.Spec
		spec.Volumes, spec.Domain.Devices.Disks = spec.Volumes[:1], spec.Domain.Devices.Disks[:1]
		spec.Networks, spec.Domain.Devices.Interfaces = spec.Networks[:1], spec.Domain.Devices.Interfaces[:1]
	})
	s.adjusted(o.Name)
	s.awaitLists(o.Name, "template web-root, volume root=web-root, disk root"+network)
	if n := s.vmWrites(); n != 3 {
		t.Errorf("%d writes after the removal, want still 3", n)
	}
}

// TestRestoreIsKept writes to the VirtualMachine in the order in which a
// VirtualMachineRestore does (KubeVirt, pkg/storage/snapshot/restore.go).
func TestRestoreIsKept(t *testing.T) {
	s := start(t)
	o := s.stateful()
	o.Spec.VirtualMachine.RunStrategy = ptr.To(kubevirtv1.RunStrategyHalted)
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	snapshot := s.awaitVM(o.Name).Spec.DeepCopy()
	// The spec changes after the snapshot.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](7)
	})
	s.awaitGrace(o.Name, 7)

	s.vmIs(o.Name, func(st *kubevirtv1.VirtualMachineStatus) { st.RestoreInProgress = new("restore-1") })
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		vm := &spec.VirtualMachine.Template.Spec
		vm.Volumes = append(vm.Volumes, emptyDisk("scratch"))
		vm.Domain.Devices.Disks = append(vm.Domain.Devices.Disks, virtioDisk("scratch"))
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonOutOfDate})
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) {
		vm.Spec = *snapshot.DeepCopy()
		vm.Spec.DataVolumeTemplates = []kubevirtv1.DataVolumeTemplateSpec{blankTemplate("restore-1-root")}
		vm.Spec.Template.Spec.Volumes = []kubevirtv1.Volume{rootVolume("restore-1-root")}
		vm.Annotations["restore.kubevirt.io/lastRestoreUID"] = "restore-1-1234"
	})
	s.awaitGrace(o.Name, 7) // The rest of the spec is applied.
	restored := "template restore-1-root, volume root=restore-1-root, disk root" + network
	s.awaitLists(o.Name, restored)
	s.vmIs(o.Name, func(st *kubevirtv1.VirtualMachineStatus) { st.RestoreInProgress = nil })

	// The edit that waited is applied, and the restored disk stays.
	edited := "template restore-1-root, volume root=restore-1-root, volume scratch, disk root, disk scratch" + network
	s.awaitLists(o.Name, edited)
	s.adjusted(o.Name, "volumes[root] uses DataVolume restore-1-root instead of DataVolume web-root", "dataVolumeTemplates[restore-1-root] was added")

	// Neither a restart of the operator nor an edit of a port reverts it.
	s.restart()
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports = spec.Ports[:2] })
	s.awaitLists(o.Name, edited)

	// Nor do edits of other fields of the volume, its disk and its template, and another
	// name of the volume.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		hotpluggableRoot(spec)
		vm := &spec.VirtualMachine
		vm.Template.Spec.Domain.Devices.Disks[0].Disk.Bus = kubevirtv1.DiskBusSATA
		vm.DataVolumeTemplates[0].Annotations = map[string]string{"x": "y"}
	})
	s.awaitLists(o.Name, edited)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		vm := &spec.VirtualMachine.Template.Spec
		vm.Volumes[0].Name, vm.Domain.Devices.Disks[0].Name = "system", "system"
	})
	s.awaitLists(o.Name, "template restore-1-root, volume system=restore-1-root, volume scratch, disk system, disk scratch"+network)
	s.adjusted(o.Name, "volumes[system] uses DataVolume restore-1-root instead of DataVolume web-root")
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		vm := &spec.VirtualMachine.Template.Spec
		vm.Volumes[0].Name, vm.Domain.Devices.Disks[0].Name = "root", "root"
	})
	s.awaitLists(o.Name, edited)

	// The user puts the restored names into the spec.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.DataVolumeTemplates[0].Name = "restore-1-root"
		spec.VirtualMachine.Template.Spec.Volumes[0].DataVolume.Name = "restore-1-root"
	})
	s.adjusted(o.Name)
	s.awaitLists(o.Name, edited)

	// An edit of the volume takes effect.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.DataVolumeTemplates[0].Name = "web-root-2"
		spec.VirtualMachine.Template.Spec.Volumes[0].DataVolume.Name = "web-root-2"
	})
	s.awaitLists(o.Name, "template web-root-2, volume root=web-root-2, volume scratch, disk root, disk scratch"+network)
}

func (s *suite) awaitGrace(name string, seconds int64) {
	s.Helper()
	s.eventually("the VirtualMachine has the spec's grace period", func() error {
		if got := s.awaitVM(name).Spec.Template.Spec.TerminationGracePeriodSeconds; ptr.Deref(got, 0) != seconds {
			return fmt.Errorf("it is %v", got)
		}
		return nil
	})
}

// TestVolumeMigrationIsKept moves a volume of a running guest, as KubeVirt's volume
// migration does, and checks that the operator does not move it back.
func TestVolumeMigrationIsKept(t *testing.T) {
	s := start(t)
	o := s.stateful()
	s.converge(o)
	s.quiet()
	s.calls.reset(nil)
	s.editVM(o.Name, "virtctl", func(vm *kubevirtv1.VirtualMachine) {
		vm.Spec.UpdateVolumesStrategy = ptr.To(kubevirtv1.UpdateVolumesStrategyMigration)
		vm.Spec.DataVolumeTemplates = []kubevirtv1.DataVolumeTemplateSpec{blankTemplate("moved")}
		vm.Spec.Template.Spec.Volumes = []kubevirtv1.Volume{rootVolume("moved")}
	})
	moved := "template moved, volume root=moved, disk root" + network
	s.awaitLists(o.Name, moved)
	vmi := &kubevirtv1.VirtualMachineInstance{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	vmi.Status.MigratedVolumes = []kubevirtv1.StorageMigratedVolumeInfo{{VolumeName: "root", SourcePVCInfo: &kubevirtv1.PersistentVolumeClaimInfo{ClaimName: "web-root"}}}
	vmi.Status.Conditions = []kubevirtv1.VirtualMachineInstanceCondition{{Type: kubevirtv1.VirtualMachineInstanceVolumesChange, Status: corev1.ConditionTrue}}
	if err := s.Update(s.Context(), vmi); err != nil {
		t.Fatal(err)
	}
	s.awaitLists(o.Name, moved)
	if n := s.vmWrites(); n != 0 {
		t.Errorf("%d writes to the VirtualMachine during the migration, want none", n)
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.Template.Spec.Volumes[0].DataVolume.Name = "elsewhere"
		spec.VirtualMachine.DataVolumeTemplates[0].Name = "elsewhere"
	})
	ready := s.awaitMVM(o.Name, want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonOutOfDate})
	if c := meta.FindStatusCondition(ready.Status.Conditions, string(v1alpha1.ConditionVirtualMachineReady)); !strings.Contains(c.Message, "the migration of volumes completes") {
		t.Errorf("message %q", c.Message)
	}
	s.awaitLists(o.Name, moved)
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	vmi.Status.MigratedVolumes, vmi.Status.Conditions = nil, nil
	if err := s.Update(s.Context(), vmi); err != nil {
		t.Fatal(err)
	}
	s.awaitLists(o.Name, "template elsewhere, volume root=elsewhere, disk root"+network)
}
