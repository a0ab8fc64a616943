// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
)

// model is the expected state of a VirtualMachine after all writes so far.
type model struct {
	// specRoot and root are the DataVolume of the root disk in the spec and in the
	// VirtualMachine.
	specRoot, root string
	// own are the further entries of the spec, by name: whether they are hotpluggable.
	own map[string]bool
	// removed are hotpluggable entries of the spec that another client removed.
	removed map[string]bool
	// ownNets are the further interfaces of the spec. Another client set the state of
	// those in unplugging to absent, and KubeVirt removed those in unplugged.
	ownNets, unplugging, unplugged map[string]bool
	// volumes, nets and labels are the entries of other clients.
	volumes, nets, labels map[string]bool
	// busy is set while a restore is in progress.
	busy bool
	// edited are the entries that a user edited since the operator was known to have
	// seen all edits.
	edited map[string]bool
	// serial makes names unique.
	serial int
}

func newModel() *model {
	return &model{
		specRoot: "web-root", root: "web-root",
		own: map[string]bool{}, removed: map[string]bool{}, volumes: map[string]bool{},
		ownNets: map[string]bool{}, unplugging: map[string]bool{}, unplugged: map[string]bool{},
		nets: map[string]bool{}, labels: map[string]bool{}, edited: map[string]bool{},
	}
}

func (m *model) pending(keys []string) bool {
	return slices.ContainsFunc(keys, func(k string) bool { return m.edited[k] || k == allEntries && len(m.edited) > 0 })
}

// differs reports whether the VirtualMachine differs from the spec.
func (m *model) differs() bool {
	return m.root != m.specRoot || len(m.removed)+len(m.volumes)+len(m.nets)+len(m.unplugging)+len(m.unplugged) > 0
}

// expected lists the entries of the VirtualMachine, sorted.
func (m *model) expected() []string {
	out := []string{"template " + m.root, "volume root " + m.root, "disk root virtio", "interface default masquerade", "network default", "label ours"}
	for name := range m.own {
		if !m.removed[name] {
			out = append(out, "volume "+name+" "+name, "disk "+name+" virtio")
		}
	}
	for name := range m.volumes {
		out = append(out, "volume "+name+" "+name, "disk "+name+" virtio")
	}
	for name := range m.nets {
		out = append(out, "interface "+name+" bridge", "network "+name)
	}
	for name := range m.ownNets {
		switch {
		case m.unplugging[name]:
			out = append(out, "interface "+name+" bridge absent", "network "+name)
		case !m.unplugged[name]:
			out = append(out, "interface "+name+" bridge", "network "+name)
		}
	}
	for name := range m.labels {
		out = append(out, "label "+name)
	}
	slices.Sort(out)
	return out
}

// observed lists the entries of a VirtualMachine in the same form.
func observed(vm *kubevirtv1.VirtualMachine) []string {
	var out []string
	for _, t := range vm.Spec.DataVolumeTemplates {
		out = append(out, "template "+t.Name)
	}
	spec := vm.Spec.Template.Spec
	for _, v := range spec.Volumes {
		claim := v.Name
		switch {
		case v.DataVolume != nil:
			claim = v.DataVolume.Name
		case v.PersistentVolumeClaim != nil:
			claim = v.PersistentVolumeClaim.ClaimName
		}
		out = append(out, "volume "+v.Name+" "+claim)
	}
	for _, d := range spec.Domain.Devices.Disks {
		bus := kubevirtv1.DiskBus("none")
		if d.Disk != nil {
			bus = d.Disk.Bus
		}
		out = append(out, fmt.Sprintf("disk %s %s", d.Name, bus))
	}
	for _, i := range spec.Domain.Devices.Interfaces {
		binding := "bridge"
		if i.Masquerade != nil {
			binding = "masquerade"
		}
		if i.State == kubevirtv1.InterfaceStateAbsent {
			binding += " absent"
		}
		out = append(out, "interface "+i.Name+" "+binding)
	}
	for _, n := range spec.Networks {
		out = append(out, "network "+n.Name)
	}
	if vm.Labels[v1alpha1.LabelManagedBy] == v1alpha1.ManagedByValue && vm.Labels[v1alpha1.LabelMeshedVirtualMachine] == vm.Name {
		out = append(out, "label ours")
	}
	for name := range vm.Labels {
		if name != v1alpha1.LabelManagedBy && name != v1alpha1.LabelMeshedVirtualMachine {
			out = append(out, "label "+name)
		}
	}
	slices.Sort(out)
	return out
}

// foreignPresent returns an error if an entry of another client is missing.
func (m *model) foreignPresent(vm *kubevirtv1.VirtualMachine) error {
	got := observed(vm)
	for name := range m.volumes {
		if !slices.Contains(got, "volume "+name+" "+name) || !slices.Contains(got, "disk "+name+" virtio") {
			return fmt.Errorf("volume %s of another client is lost: %v", name, got)
		}
	}
	for name := range m.nets {
		if !slices.Contains(got, "interface "+name+" bridge") || !slices.Contains(got, "network "+name) {
			return fmt.Errorf("interface %s of another client is lost: %v", name, got)
		}
	}
	// An edit of the user that the operator may not have seen replaces the claim.
	if m.root != m.specRoot && !m.edited["root"] && !slices.Contains(got, "volume root "+m.root) {
		return fmt.Errorf("the restored disk %s is lost: %v", m.root, got)
	}
	return nil
}

func isAdjusted(c metav1.Condition) bool {
	return c.Type == string(v1alpha1.ConditionVirtualMachineAdjusted)
}

func isConflict(err error) bool { return apierrors.IsConflict(err) }

// action is one write: of a user to the MeshedVirtualMachine, or of another client to
// the VirtualMachine or its status.
type action struct {
	// keys are the entries that the write concerns.
	keys    []string
	user    func(*v1alpha1.MeshedVirtualMachineSpec)
	foreign func(*kubevirtv1.VirtualMachine)
	status  func(*kubevirtv1.VirtualMachineStatus)
	// applied updates the model after the write.
	applied func(*model)
	// settle is set when the operator has to see the write before the next one.
	settle bool
}

// allEntries is the key of a write that concerns every entry.
const allEntries = "*"

// step makes an action that is possible in the state of the model, or nil.
type step struct {
	name    string
	prepare func(*model, *rand.Rand) *action
}

func pick(from map[string]bool, r *rand.Rand) string {
	if len(from) == 0 {
		return ""
	}
	names := slices.Sorted(maps.Keys(from))
	return names[r.IntN(len(names))]
}

func (m *model) name(prefix string) string {
	m.serial++
	return fmt.Sprintf("%s-%d", prefix, m.serial)
}

// plugged are the interfaces of the spec that no other client unplugs.
func (m *model) plugged() map[string]bool {
	out := maps.Clone(m.ownNets)
	maps.DeleteFunc(out, func(name string, _ bool) bool { return m.unplugging[name] || m.unplugged[name] })
	return out
}

func completeRestore(*model) *action {
	return &action{
		status:  func(st *kubevirtv1.VirtualMachineStatus) { st.RestoreInProgress = nil },
		applied: func(m *model) { m.busy = false },
	}
}

// without removes the volume and the disk of a name.
func without(spec *kubevirtv1.VirtualMachineInstanceSpec, name string) {
	spec.Volumes = slices.DeleteFunc(spec.Volumes, func(v kubevirtv1.Volume) bool { return v.Name == name })
	devices := &spec.Domain.Devices
	devices.Disks = slices.DeleteFunc(devices.Disks, func(d kubevirtv1.Disk) bool { return d.Name == name })
}

// with adds a volume and a disk.
func with(spec *kubevirtv1.VirtualMachineInstanceSpec, v kubevirtv1.Volume) {
	spec.Volumes = append(spec.Volumes, v)
	spec.Domain.Devices.Disks = append(spec.Domain.Devices.Disks, virtioDisk(v.Name))
}

// moveRoot sets the DataVolume of the root disk, with its template.
func moveRoot(spec *kubevirtv1.VirtualMachineSpec, to string) {
	for i := range spec.Template.Spec.Volumes {
		if v := &spec.Template.Spec.Volumes[i]; v.Name == "root" {
			spec.DataVolumeTemplates = []kubevirtv1.DataVolumeTemplateSpec{blankTemplate(to)}
			*v = rootVolume(to)
		}
	}
}
