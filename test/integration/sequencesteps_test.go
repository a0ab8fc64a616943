// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"math/rand/v2"

	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
)

// allSteps are the writes of which random sequences consist.
var allSteps = []step{
	{"another client hotplugs a volume", func(m *model, _ *rand.Rand) *action {
		name := m.name("x")
		return &action{
			keys: []string{name}, foreign: func(vm *kubevirtv1.VirtualMachine) { with(&vm.Spec.Template.Spec, hotplugged(name)) },
			applied: func(m *model) { m.volumes[name] = true },
		}
	}},
	{"another client removes its volume", func(m *model, r *rand.Rand) *action {
		name := pick(m.volumes, r)
		if name == "" {
			return nil
		}
		return &action{
			keys: []string{name}, foreign: func(vm *kubevirtv1.VirtualMachine) { without(&vm.Spec.Template.Spec, name) },
			applied: func(m *model) { delete(m.volumes, name) },
		}
	}},
	{"another client hotplugs an interface", func(m *model, _ *rand.Rand) *action {
		name := m.name("net")
		return &action{
			keys:    []string{name},
			foreign: func(vm *kubevirtv1.VirtualMachine) { secondary(&vm.Spec.Template.Spec, name) },
			applied: func(m *model) { m.nets[name] = true },
		}
	}},
	{"another client removes its interface", func(m *model, r *rand.Rand) *action {
		name := pick(m.nets, r)
		if name == "" {
			return nil
		}
		return &action{
			keys:    []string{name},
			foreign: func(vm *kubevirtv1.VirtualMachine) { withoutInterface(&vm.Spec.Template.Spec, name) },
			applied: func(m *model) { delete(m.nets, name) },
		}
	}},
	{"another client unplugs an interface of the spec", func(m *model, r *rand.Rand) *action {
		name := pick(m.plugged(), r)
		if name == "" {
			return nil
		}
		return &action{
			keys: []string{name}, foreign: func(vm *kubevirtv1.VirtualMachine) {
				interfaceOf(&vm.Spec.Template.Spec, name).State = kubevirtv1.InterfaceStateAbsent
			},
			applied: func(m *model) { m.unplugging[name] = true },
		}
	}},
	{"KubeVirt removes an unplugged interface of the spec", func(m *model, r *rand.Rand) *action {
		name := pick(m.unplugging, r)
		if name == "" {
			return nil
		}
		return &action{
			keys: []string{name}, foreign: func(vm *kubevirtv1.VirtualMachine) { withoutInterface(&vm.Spec.Template.Spec, name) },
			applied: func(m *model) {
				delete(m.unplugging, name)
				m.unplugged[name] = true
			},
		}
	}},
	{"another client plugs in an interface of the spec", func(m *model, r *rand.Rand) *action {
		name := pick(m.unplugged, r)
		if name == "" {
			return nil
		}
		return &action{
			keys: []string{name}, foreign: func(vm *kubevirtv1.VirtualMachine) { secondary(&vm.Spec.Template.Spec, name) },
			applied: func(m *model) { delete(m.unplugged, name) },
		}
	}},
	{"a restore starts", func(m *model, _ *rand.Rand) *action {
		if m.busy {
			return nil
		}
		return &action{
			status:  func(st *kubevirtv1.VirtualMachineStatus) { st.RestoreInProgress = new("restore") },
			applied: func(m *model) { m.busy = true },
		}
	}},
	{"a restore or a migration of volumes moves the root disk", func(m *model, _ *rand.Rand) *action {
		to := m.name("restore")
		return &action{
			keys: []string{"root"}, foreign: func(vm *kubevirtv1.VirtualMachine) { moveRoot(&vm.Spec, to) },
			applied: func(m *model) { m.root = to },
		}
	}},
	{"the restore completes", func(m *model, _ *rand.Rand) *action {
		if !m.busy {
			return nil
		}
		return completeRestore(m)
	}},
	{"another client moves the root disk back", func(m *model, _ *rand.Rand) *action {
		to := m.specRoot
		return &action{
			keys: []string{"root"}, foreign: func(vm *kubevirtv1.VirtualMachine) { moveRoot(&vm.Spec, to) },
			applied: func(m *model) { m.root = to },
		}
	}},
	{"another client changes the spec's disk and interface", func(*model, *rand.Rand) *action {
		return &action{
			keys: []string{"root"},
			foreign: func(vm *kubevirtv1.VirtualMachine) {
				devices := &vm.Spec.Template.Spec.Domain.Devices
				for i := range devices.Disks {
					if devices.Disks[i].Name == "root" {
						devices.Disks[i].DiskDevice = kubevirtv1.DiskDevice{CDRom: &kubevirtv1.CDRomTarget{Bus: kubevirtv1.DiskBusSATA}}
					}
				}
				for i := range devices.Interfaces {
					if devices.Interfaces[i].Name == "default" {
						devices.Interfaces[i].InterfaceBindingMethod = kubevirtv1.InterfaceBindingMethod{Bridge: &kubevirtv1.InterfaceBridge{}}
					}
				}
			},
			applied: func(*model) {},
		}
	}},
	{"another client removes an entry of the spec", func(m *model, r *rand.Rand) *action {
		name := pick(m.own, r)
		if name == "" {
			return nil
		}
		return &action{
			keys: []string{name}, foreign: func(vm *kubevirtv1.VirtualMachine) { without(&vm.Spec.Template.Spec, name) },
			// It removes only a hotpluggable one for good.
			applied: func(m *model) {
				if m.own[name] {
					m.removed[name] = true
				}
			},
		}
	}},
	{"another client labels the VirtualMachine", func(m *model, _ *rand.Rand) *action {
		name := m.name("backup.example.com/label")
		return &action{
			keys: []string{name},
			foreign: func(vm *kubevirtv1.VirtualMachine) {
				vm.Labels[name] = "x"
				if vm.Annotations == nil {
					vm.Annotations = map[string]string{}
				}
				vm.Annotations[name] = "x"
			},
			applied: func(m *model) { m.labels[name] = true },
		}
	}},
	{"another client changes the operator's labels", func(_ *model, r *rand.Rand) *action {
		steal := r.IntN(2) == 0
		return &action{
			foreign: func(vm *kubevirtv1.VirtualMachine) {
				delete(vm.Labels, v1alpha1.LabelManagedBy)
				if steal {
					vm.Labels[v1alpha1.LabelMeshedVirtualMachine] = "other"
				}
			},
			applied: func(*model) {},
		}
	}},
	{"another client removes the operator's annotations", func(m *model, _ *rand.Rand) *action {
		if m.busy {
			return nil
		}
		return &action{
			keys: []string{allEntries}, foreign: func(vm *kubevirtv1.VirtualMachine) { vm.Annotations = nil },
			// Without the record, the operator does not know that the entries were
			// removed by another client.
			applied: func(m *model) {
				clear(m.removed)
				clear(m.unplugged)
			},
			settle: true,
		}
	}},
	{"the user adds an entry", func(m *model, r *rand.Rand) *action {
		name, hotpluggable := m.name("own"), r.IntN(2) == 0
		v := emptyDisk(name)
		if hotpluggable {
			v = hotplugged(name)
		}
		return &action{
			keys: []string{name}, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) { with(&spec.VirtualMachine.Template.Spec, v) },
			applied: func(m *model) { m.own[name], m.edited[name] = hotpluggable, true },
		}
	}},
	{"the user removes an entry", func(m *model, r *rand.Rand) *action {
		name := pick(m.own, r)
		if name == "" {
			return nil
		}
		return &action{
			keys: []string{name}, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) { without(&spec.VirtualMachine.Template.Spec, name) },
			applied: func(m *model) {
				delete(m.own, name)
				delete(m.removed, name)
				m.edited[name] = true
			},
		}
	}},
	{"the user adds an interface", func(m *model, r *rand.Rand) *action {
		name, up := m.name("own-net"), r.IntN(2) == 0
		return &action{
			keys: []string{name}, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) {
				vm := &spec.VirtualMachine.Template.Spec
				secondary(vm, name)
				if up {
					interfaceOf(vm, name).State = kubevirtv1.InterfaceStateLinkUp
				}
			},
			applied: func(m *model) { m.ownNets[name], m.edited[name] = true, true },
		}
	}},
	{"the user removes an interface", func(m *model, r *rand.Rand) *action {
		name := pick(m.ownNets, r)
		if name == "" {
			return nil
		}
		return &action{
			keys: []string{name}, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) {
				withoutInterface(&spec.VirtualMachine.Template.Spec, name)
			},
			applied: func(m *model) {
				delete(m.ownNets, name)
				delete(m.unplugging, name)
				delete(m.unplugged, name)
				m.edited[name] = true
			},
		}
	}},
	{"the user edits other fields of all entries", func(m *model, _ *rand.Rand) *action {
		serial := m.name("serial")
		return &action{
			keys: []string{allEntries}, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) {
				hotpluggableRoot(spec)
				devices := &spec.VirtualMachine.Template.Spec.Domain.Devices
				for i := range devices.Disks {
					devices.Disks[i].Serial = serial
				}
				for i := range devices.Interfaces {
					devices.Interfaces[i].Tag = serial
				}
			},
			applied: func(*model) {},
		}
	}},
	{"the user moves the root disk", func(m *model, _ *rand.Rand) *action {
		to := m.name("web-root")
		return &action{
			keys: []string{"root"}, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) { moveRoot(&spec.VirtualMachine, to) },
			applied: func(m *model) { m.specRoot, m.root, m.edited["root"] = to, to, true },
		}
	}},
	{"the user puts the live root disk into the spec", func(m *model, _ *rand.Rand) *action {
		to := m.root
		if to == m.specRoot {
			return nil
		}
		return &action{
			keys: []string{"root"}, user: func(spec *v1alpha1.MeshedVirtualMachineSpec) { moveRoot(&spec.VirtualMachine, to) },
			applied: func(m *model) { m.specRoot, m.edited["root"] = to, true },
		}
	}},
	{"the user edits another part of the spec", func(m *model, _ *rand.Rand) *action {
		version := m.name("v")
		return &action{
			user:    func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Version = version },
			applied: func(*model) {},
		}
	}},
}
