// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"regexp"

	"k8s.io/apimachinery/pkg/util/validation/field"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// accountShape is the pattern of api/v1alpha1/identity_types.go.
var accountShape = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// maxAccountLength is the maximum length of the name of a service account.
const maxAccountLength = 253

// identity rejects a service account that the guest's pods would not run as.
func (e *Errors) identity(cluster Cluster, mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	name, path := mvm.Spec.Mesh.Identity.ServiceAccountName, path.Child("serviceAccountName")
	template := mvm.Spec.VirtualMachine.Template
	if name == "" || template == nil {
		return
	}
	at, other := otherAccount(&template.Spec)
	switch {
	case len(name) > maxAccountLength || !accountShape.MatchString(name):
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "invalid service account %q: must be the name of one in namespace %s", name, mvm.Namespace)
	case other != "" && other != name:
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "%s names service account %q, and a pod has only one: set both to the same name, or remove one of them", at, other)
	case cluster.WithoutWebhook && other == "":
		e.Reject(v1alpha1.ReasonInvalidSpec, path, "requires the operator's webhook, which sets the service account of pods, and it is disabled (guests.startGate of the OperatorConfiguration): enable it, or, with KubeVirt 1.9 or later, set spec.virtualMachine.template.spec.serviceAccountName instead")
	case cluster.HasServiceAccount != nil && !cluster.HasServiceAccount(mvm.Namespace, name):
		e.Reject(v1alpha1.ReasonServiceAccountNotFound, path, "service account %s does not exist in namespace %s: create it, or correct the name", name, mvm.Namespace)
	}
}

// otherAccount returns the service account that KubeVirt itself gives to the pods, and the
// field that names it: a field of KubeVirt 1.9, or a volume (KubeVirt,
// pkg/virt-controller/services/template.go).
func otherAccount(spec *kubevirtv1.VirtualMachineInstanceSpec) (at *field.Path, name string) {
	path := templateSpecPath
	if spec.ServiceAccountName != "" {
		return path.Child("serviceAccountName"), spec.ServiceAccountName
	}
	for i, v := range spec.Volumes {
		if v.ServiceAccount != nil && v.ServiceAccount.ServiceAccountName != "" {
			return path.Child("volumes").Index(i).Child("serviceAccount", "serviceAccountName"), v.ServiceAccount.ServiceAccountName
		}
	}
	return nil, ""
}
