// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/runtime"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/validate"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/corpus"
)

// newerKubeVirt marks a case with a field that the CRDs of the tests, which are those
// of the oldest supported KubeVirt, do not have.
const newerKubeVirt = "KubeVirt 1.8"

// TestCorpus applies each spec of the corpus to the API server. It checks the
// responses of the CRD and of the operator, and that the API server accepts the
// children of an accepted spec. KubeVirt's own webhook only runs on a cluster.
func TestCorpus(t *testing.T) {
	env := shared.Get(t)
	cases, err := corpus.All()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 60 {
		t.Errorf("the corpus has %d specs, want at least 60", len(cases))
	}
	accepted := 0
	for _, c := range cases {
		if c.Rejection == "" {
			accepted++
		}
		t.Run(c.Name, func(t *testing.T) {
			mvm, err := submit(t, env.Client, c)
			if c.Rejection != "" {
				if err == nil || !strings.Contains(err.Error(), c.Rejection) {
					t.Errorf("%s\ngot  %v\nwant a rejection with %s", c.About, err, c.Rejection)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s\nrejected: %v", c.About, err)
			}
			err = applyChildren(t, env.Client, mvm)
			if newer := c.Needs == newerKubeVirt; newer != (apply.UnknownField(err) != "") || !newer && err != nil {
				t.Errorf("%s\nthe children: %v", c.About, err)
			}
		})
	}
	t.Logf("%d specs, %d accepted, %d rejected", len(cases), accepted, len(cases)-accepted)
}

// submit creates the object with a dry run, and returns the error of the API
// server or of the operator.
func submit(t *testing.T, c client.Client, tc corpus.Case) (*v1alpha1.MeshedVirtualMachine, error) {
	t.Helper()
	u := tc.Object.DeepCopy()
	u.SetNamespace("default")
	if err := c.Create(t.Context(), u, client.DryRunAll); err != nil {
		return nil, err
	}
	mvm := &v1alpha1.MeshedVirtualMachine{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, mvm); err != nil {
		return nil, err
	}
	return mvm, validate.Spec(mvm)
}

// applyChildren applies the objects of a new guest with a dry run.
func applyChildren(t *testing.T, c client.Client, mvm *v1alpha1.MeshedVirtualMachine) error {
	t.Helper()
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
		errs = append(errs, c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(u), client.FieldOwner(v1alpha1.FieldOwner), client.DryRunAll))
	}
	return errors.Join(errs...)
}
