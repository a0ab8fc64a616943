// SPDX-License-Identifier: Apache-2.0

package children

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshvm.io/meshvm/api/v1alpha1"
)

// clusterDomain is the DNS domain of the cluster; Istio's default is the same
// (Istio, pkg/config/constants, DefaultClusterLocalDomain).
const clusterDomain = "cluster.local"

// uidDigits is how much of the hash of a pod's UID a name holds: a guest has
// two pods at most.
const uidDigits = 10

// PodNATConfigurationName is the name of the PodNATConfiguration of one pod. It
// tells pods apart by UID, since a pod's name may come again, and is short
// enough for a label's value.
func PodNATConfigurationName(mvmName string, podUID types.UID) string {
	sum := sha256.Sum256([]byte(podUID))
	hash := hex.EncodeToString(sum[:])[:uidDigits]
	if limit := validation.DNS1123LabelMaxLength - 1 - uidDigits; len(mvmName) > limit {
		mvmName = strings.TrimRight(mvmName[:limit], "-.")
	}
	return mvmName + "-" + hash
}

// Host is the DNS name of the Service of a MeshedVirtualMachine.
func Host(mvm *v1alpha1.MeshedVirtualMachine) string {
	return mvm.Name + "." + mvm.Namespace + ".svc." + clusterDomain
}

// meta is the metadata that all children share.
func meta(mvm *v1alpha1.MeshedVirtualMachine, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:      name,
		Namespace: mvm.Namespace,
		Labels:    labels(mvm),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion:         v1alpha1.GroupVersion.String(),
			Kind:               "MeshedVirtualMachine",
			Name:               mvm.Name,
			UID:                mvm.UID,
			Controller:         new(true),
			BlockOwnerDeletion: new(true),
		}},
	}
}

func labels(mvm *v1alpha1.MeshedVirtualMachine) map[string]string {
	return map[string]string{
		v1alpha1.LabelManagedBy:            v1alpha1.ManagedByValue,
		v1alpha1.LabelMeshedVirtualMachine: mvm.Name,
	}
}

// app is the value of the label "app" of the guest's pods: that of the
// template, where users and their dashboards may rely on it, or the name.
func app(mvm *v1alpha1.MeshedVirtualMachine) string {
	if t := mvm.Spec.VirtualMachine.Template; t != nil && t.ObjectMeta.Labels[v1alpha1.LabelApp] != "" {
		return t.ObjectMeta.Labels[v1alpha1.LabelApp]
	}
	return mvm.Name
}
