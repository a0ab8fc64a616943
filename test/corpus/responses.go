// SPDX-License-Identifier: Apache-2.0

package corpus

import (
	"context"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/validate"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Submit creates the object in a namespace with a dry run and, like kubectl, without
// unknown fields. It returns the error of
// the API server or of the operator's validation.
func (c Case) Submit(ctx context.Context, api client.Client, namespace string) (*v1alpha1.MeshedVirtualMachine, error) {
	u := c.Object.DeepCopy()
	u.SetNamespace(namespace)
	if err := api.Create(ctx, u, client.DryRunAll, client.FieldValidation("Strict")); err != nil {
		return nil, err
	}
	mvm := &v1alpha1.MeshedVirtualMachine{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, mvm); err != nil {
		return nil, err
	}
	return mvm, validate.Spec(mvm)
}

// ApplyChildren applies the objects of a new guest with a dry run. It returns the
// errors of the API server and of the webhooks.
func ApplyChildren(ctx context.Context, api client.Client, mvm *v1alpha1.MeshedVirtualMachine) error {
	mvm.UID = "corpus"
	desired, err := children.Desired(children.Input{MVM: mvm})
	if err != nil {
		return err
	}
	var errs []error
	for _, o := range desired {
		u, err := apply.Intent(o)
		if err != nil {
			return err
		}
		if u.GetKind() == children.VirtualMachineKind.Kind {
			children.KeepRunStrategy(u, nil)
		}
		err = api.Apply(ctx, client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(v1alpha1.FieldOwner), client.DryRunAll)
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", u.GetKind(), err))
		}
	}
	return errors.Join(errs...)
}
