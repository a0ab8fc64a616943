// SPDX-License-Identifier: Apache-2.0

package children

import (
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshvm.io/meshvm/api/v1alpha1"
)

// uidDigits is the number of hexadecimal digits of the hash of a pod's UID in a
// name. A guest has at most two pods.
const uidDigits = 10

// PodNATConfigurationName returns the name of the PodNATConfiguration of one
// pod. It depends on the pod's UID, because the name of a pod can be reused,
// and is short enough for the value of a label.
func PodNATConfigurationName(mvmName string, podUID types.UID) string {
	sum := sha256.Sum256([]byte(podUID))
	hash := hex.EncodeToString(sum[:])[:uidDigits]
	if limit := validation.DNS1123LabelMaxLength - 1 - uidDigits; len(mvmName) > limit {
		mvmName = strings.TrimRight(mvmName[:limit], "-.")
	}
	return mvmName + "-" + hash
}

// partName returns the name of one of several objects of a kind. The name of a
// MeshedVirtualMachine contains no dot, so that the objects of two of them never
// have the same name.
func partName(mvm *v1alpha1.MeshedVirtualMachine, part string) string { return mvm.Name + "." + part }

// GuestOf returns the name of the MeshedVirtualMachine whose child can have the name.
func GuestOf(name string) string {
	guest, _, _ := strings.Cut(name, ".")
	return guest
}

// Named reports whether an object has a name that the operator gives to children of
// its kind of the MeshedVirtualMachine. PodNATConfigurations are named by their pods.
func Named(kind schema.GroupKind, name string, mvm *v1alpha1.MeshedVirtualMachine) bool {
	switch kind {
	case AuthorizationPolicyKind.GroupKind(), VirtualServiceKind.GroupKind(), ServiceEntryKind.GroupKind():
		name = GuestOf(name)
	}
	if IsOfService(kind) {
		return name == mvm.ServiceName()
	}
	if kind == VirtualMachineKind.GroupKind() {
		return name == mvm.VirtualMachineName()
	}
	return name == mvm.Name
}

// OwnerKind is the kind of the controller of every child.
const OwnerKind = "MeshedVirtualMachine"

// Owners returns the names of the MeshedVirtualMachines to which a child belongs: that of
// its controller, and that in its label, by which a child without a controller is adopted.
func Owners(o metav1.Object) []string {
	var names []string
	if ref := metav1.GetControllerOf(o); ref != nil && ref.Kind == OwnerKind {
		names = append(names, ref.Name)
	}
	if name := o.GetLabels()[v1alpha1.LabelMeshedVirtualMachine]; name != "" && !slices.Contains(names, name) {
		names = append(names, name)
	}
	return names
}

// serviceMeta returns the metadata of the objects of a Service. The lead is their
// controller, and the other members are owners without control, so that the garbage
// collector deletes the objects with the last member.
func serviceMeta(in serviceInput, name string) metav1.ObjectMeta {
	out := meta(in.Lead(), name)
	out.Labels[v1alpha1.LabelService] = in.Name
	for _, mvm := range in.Owners()[1:] {
		out.OwnerReferences = append(out.OwnerReferences, metav1.OwnerReference{
			APIVersion: v1alpha1.GroupVersion.String(), Kind: OwnerKind, Name: mvm.Name, UID: mvm.UID,
		})
	}
	return out
}

// meta returns the common metadata of all children.
func meta(mvm *v1alpha1.MeshedVirtualMachine, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:            name,
		Namespace:       mvm.Namespace,
		Labels:          labels(mvm),
		OwnerReferences: []metav1.OwnerReference{OwnerReference(mvm)},
	}
}

// OwnerReference returns the reference of a child to its controller.
func OwnerReference(mvm *v1alpha1.MeshedVirtualMachine) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion:         v1alpha1.GroupVersion.String(),
		Kind:               OwnerKind,
		Name:               mvm.Name,
		UID:                mvm.UID,
		Controller:         new(true),
		BlockOwnerDeletion: new(true),
	}
}

// addMetadata adds a user's labels and annotations. The operator's take precedence.
func addMetadata(o *metav1.ObjectMeta, labels, annotations map[string]string) {
	o.Labels = merged(labels, o.Labels)
	if len(annotations) > 0 {
		o.Annotations = merged(annotations, o.Annotations)
	}
}

func labels(mvm *v1alpha1.MeshedVirtualMachine) map[string]string {
	return map[string]string{
		v1alpha1.LabelManagedBy:            v1alpha1.ManagedByValue,
		v1alpha1.LabelMeshedVirtualMachine: mvm.Name,
	}
}

// app returns the value of the label "app" of the guest's pods: the value in
// the template, on which users' dashboards may rely, or the name of the object.
func app(mvm *v1alpha1.MeshedVirtualMachine) string {
	if t := mvm.Spec.VirtualMachine.Template; t != nil && t.ObjectMeta.Labels[v1alpha1.LabelApp] != "" {
		return t.ObjectMeta.Labels[v1alpha1.LabelApp]
	}
	return mvm.Name
}
