// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"slices"
	"testing"

	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
)

// primary adds the interface on the pod network, which a spec with other interfaces
// names.
func primary(spec *kubevirtv1.VirtualMachineInstanceSpec) {
	spec.Networks = []kubevirtv1.Network{*kubevirtv1.DefaultPodNetwork()}
	spec.Domain.Devices.Interfaces = []kubevirtv1.Interface{*kubevirtv1.DefaultMasqueradeNetworkInterface()}
}

// secondary adds an interface that KubeVirt can unplug, and its network.
func secondary(spec *kubevirtv1.VirtualMachineInstanceSpec, name string) {
	spec.Networks = append(spec.Networks, kubevirtv1.Network{Name: name, NetworkSource: kubevirtv1.NetworkSource{Multus: &kubevirtv1.MultusNetwork{NetworkName: "nad"}}})
	spec.Domain.Devices.Interfaces = append(spec.Domain.Devices.Interfaces, kubevirtv1.Interface{Name: name, InterfaceBindingMethod: kubevirtv1.InterfaceBindingMethod{Bridge: &kubevirtv1.InterfaceBridge{}}})
}

// withoutInterface removes an interface and its network, as KubeVirt does after it has
// unplugged the interface (KubeVirt, pkg/network/controllers/vm.go).
func withoutInterface(spec *kubevirtv1.VirtualMachineInstanceSpec, name string) {
	spec.Networks = slices.DeleteFunc(spec.Networks, func(n kubevirtv1.Network) bool { return n.Name == name })
	devices := &spec.Domain.Devices
	devices.Interfaces = slices.DeleteFunc(devices.Interfaces, func(i kubevirtv1.Interface) bool { return i.Name == name })
}

// interfaceOf returns the interface of a name.
func interfaceOf(spec *kubevirtv1.VirtualMachineInstanceSpec, name string) *kubevirtv1.Interface {
	devices := &spec.Domain.Devices
	i := slices.IndexFunc(devices.Interfaces, func(i kubevirtv1.Interface) bool { return i.Name == name })
	return &devices.Interfaces[i]
}

// TestUnpluggedInterface unplugs an interface of the spec in the two steps of KubeVirt: a
// client sets its state, and KubeVirt removes it from the VirtualMachine.
func TestUnpluggedInterface(t *testing.T) {
	s := start(t)
	o := s.stateful()
	primary(&o.Spec.VirtualMachine.Template.Spec)
	secondary(&o.Spec.VirtualMachine.Template.Spec, "b")
	interfaceOf(&o.Spec.VirtualMachine.Template.Spec, "b").State = kubevirtv1.InterfaceStateLinkUp
	s.converge(o)
	s.quiet()
	s.calls.reset(nil)
	const base = "template web-root, volume root=web-root, disk root, interface default, "
	s.editVM(o.Name, "virtctl", func(vm *kubevirtv1.VirtualMachine) {
		interfaceOf(&vm.Spec.Template.Spec, "b").State = kubevirtv1.InterfaceStateAbsent
	})
	s.adjusted(o.Name, "interfaces[b] has state absent", "field manager virtctl", "spec.virtualMachine", "kubectl edit vm")
	s.awaitLists(o.Name, base+"interface b, network default, network b")
	if state := interfaceOf(&s.awaitVM(o.Name).Spec.Template.Spec, "b").State; state != kubevirtv1.InterfaceStateAbsent {
		t.Errorf("the operator set the state to %q", state)
	}
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) { withoutInterface(&vm.Spec.Template.Spec, "b") })
	s.adjusted(o.Name, "interfaces[b] was removed")
	s.awaitLists(o.Name, base+"network default")
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if n := s.vmWrites(); n != 0 {
		t.Errorf("%d writes to the VirtualMachine, want none", n)
	}

	// Neither a restart nor an edit of another field plugs it in again.
	s.restart()
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		interfaceOf(&spec.VirtualMachine.Template.Spec, "b").Model = "e1000"
	})
	s.awaitLists(o.Name, base+"network default")
	s.adjusted(o.Name, "interfaces[b] was removed")

	// The user follows the VirtualMachine, and later adds the interface again.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		withoutInterface(&spec.VirtualMachine.Template.Spec, "b")
	})
	s.adjusted(o.Name)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { secondary(&spec.VirtualMachine.Template.Spec, "b") })
	s.awaitLists(o.Name, base+"interface b, network default, network b")

	// The other way out: another client plugs it in again.
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) { withoutInterface(&vm.Spec.Template.Spec, "b") })
	s.adjusted(o.Name, "interfaces[b] was removed")
	s.editVM(o.Name, "kubectl-edit", func(vm *kubevirtv1.VirtualMachine) { secondary(&vm.Spec.Template.Spec, "b") })
	s.adjusted(o.Name)
	s.awaitLists(o.Name, base+"interface b, network default, network b")
}

// TestUnpluggedVolume removes a volume that is hotpluggable in the VirtualMachine, but not
// in the spec: a user hotplugged it and then put it into the spec.
func TestUnpluggedVolume(t *testing.T) {
	s := start(t)
	o := s.stateful()
	s.converge(o)
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) { with(&vm.Spec.Template.Spec, hotplugged("x")) })
	s.adjusted(o.Name, "volumes[x] was added")
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		v := hotplugged("x")
		v.PersistentVolumeClaim.Hotpluggable = false
		with(&spec.VirtualMachine.Template.Spec, v)
	})
	s.adjusted(o.Name)
	s.quiet()
	s.calls.reset(nil)
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) { without(&vm.Spec.Template.Spec, "x") })
	s.adjusted(o.Name, "volumes[x] was removed", "virtctl addvolume or removevolume")
	removed := "template web-root, volume root=web-root, disk root" + network
	s.awaitLists(o.Name, removed)
	if n := s.vmWrites(); n != 0 {
		t.Errorf("%d writes to the VirtualMachine, want none", n)
	}
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.Template.Spec.Domain.Devices.Disks[1].Serial = "s"
	})
	s.awaitLists(o.Name, removed)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.VirtualMachine.Template.Spec.Volumes[1].PersistentVolumeClaim.ClaimName = "y"
	})
	s.awaitLists(o.Name, "template web-root, volume root=web-root, volume x=y, disk root, disk x"+network)
	s.adjusted(o.Name)
}

// TestAdjustedWhileRejected checks that changes of other clients are reported, and
// followed, while the spec is not accepted.
func TestAdjustedWhileRejected(t *testing.T) {
	s := start(t)
	o := s.stateful()
	s.converge(o)
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) { with(&vm.Spec.Template.Spec, hotplugged("x")) })
	s.adjusted(o.Name, "volumes[x] was added (field manager virt-controller)")
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		vm := &spec.VirtualMachine.Template.Spec
		primary(vm)
		vm.Domain.Devices.Interfaces[0] = *kubevirtv1.DefaultBridgeNetworkInterface()
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonBridgeBinding})
	s.quiet()
	s.adjusted(o.Name, "volumes[x] was added (field manager virt-controller)")
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) { with(&vm.Spec.Template.Spec, hotplugged("y")) })
	s.adjusted(o.Name, "volumes[x] was added", "volumes[y] was added")
	s.editVM(o.Name, "virt-controller", func(vm *kubevirtv1.VirtualMachine) {
		without(&vm.Spec.Template.Spec, "x")
		without(&vm.Spec.Template.Spec, "y")
	})
	s.adjusted(o.Name)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonBridgeBinding})
}
