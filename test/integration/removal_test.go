// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/testenv"
)

// documentedRemoval returns the command in the section "Removal" of docs/install.md.
func documentedRemoval(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "docs/install.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Removal\n")
	_, block, found := strings.Cut(section, "```bash\n")
	command, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("docs/install.md has no command in the section Removal")
	}
	return command
}

// TestRemovalWithoutOperator deletes the CRDs after the operator was removed, as
// "kubectl delete -k" does. The finalizers of PodNATConfigurations, and of an object that
// keeps its VirtualMachine, block the deletion until the command in docs/install.md has run.
func TestRemovalWithoutOperator(t *testing.T) {
	command := documentedRemoval(t)
	env := testenv.Start(t, testenv.Options{KubeVirt: true, Istio: true, Controllers: testenv.DefaultControllers})
	s := startOn(t, env)
	o := s.kept()
	pod := s.converge(o)
	s.awaitDeletionPolicy(o.Name, true)
	name, vm := s.awaitNAT(pod).Name, s.awaitVM(o.Name)
	s.stop()

	var crds []*extv1.CustomResourceDefinition
	for _, resource := range []string{"podnatconfigurations", "meshedvirtualmachines"} {
		crd := &extv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: resource + ".meshvm.io"}}
		if err := s.Delete(s.Context(), crd); err != nil {
			t.Fatal(err)
		}
		crds = append(crds, crd)
	}
	s.eventually("the PodNATConfiguration is being deleted", func() error {
		u, err := s.read(children.PodNATConfigurationKind, name)
		if err == nil && u.GetDeletionTimestamp() == nil {
			err = fmt.Errorf("%s has no deletion timestamp", name)
		}
		return err
	})
	time.Sleep(2 * time.Second) // Nothing may remove the finalizer in this time.
	if u, err := s.read(children.PodNATConfigurationKind, name); err != nil || len(u.GetFinalizers()) != 1 || u.GetFinalizers()[0] != v1alpha1.FinalizerRules {
		t.Fatalf("the deletion of the PodNATConfiguration is not blocked: %v", err)
	}

	kubeconfig, err := env.Kubeconfig("")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	run := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", command)
	run.Env = append(os.Environ(), "KUBECONFIG="+file, "PATH="+os.Getenv("KUBEBUILDER_ASSETS")+":"+os.Getenv("PATH"))
	if out, err := run.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, crd := range crds {
		s.eventually("the CRD "+crd.Name+" is deleted", func() error { return gone(s.Get(s.Context(), client.ObjectKeyFromObject(crd), crd)) })
	}
	if got := s.awaitVM(o.Name); got.UID != vm.UID || !got.DeletionTimestamp.IsZero() {
		t.Errorf("the VirtualMachine was replaced or is being deleted: UID %s, before %s", got.UID, vm.UID)
	}

	// The operator can be installed again, and cleans up at the end of the test.
	if err := env.InstallMeshVM(context.WithoutCancel(t.Context())); err != nil {
		t.Fatal(err)
	}
	s.run(nil)
}

// TestOrphansOfDeletedOwner deletes a MeshedVirtualMachine with --cascade=orphan. A
// reconcile that does not know of the deletion yet must not adopt the orphans: the garbage
// collector would delete them, and with the VirtualMachine its disks.
func TestOrphansOfDeletedOwner(t *testing.T) {
	s := start(t)
	o := s.web()
	s.converge(o)
	s.stop()
	defer s.run(nil) // The test cleans up with an operator.
	owner := s.mvm(o.Name)
	held := owner.DeepCopy()
	held.Finalizers = append(held.Finalizers, "example.com/hold")
	if err := s.Patch(s.Context(), held, client.MergeFrom(owner)); err != nil {
		t.Fatal(err)
	}
	defer s.letGo(held)
	if err := s.Delete(s.Context(), held, client.PropagationPolicy(metav1.DeletePropagationOrphan)); err != nil {
		t.Fatal(err)
	}
	desired, err := children.Desired(children.Input{MVM: owner, ClusterDomain: v1alpha1.DefaultClusterDomain})
	if err != nil {
		t.Fatal(err)
	}
	applier := apply.Applier{Client: s.Client, Reader: s.Client}
	for _, d := range desired {
		kind := d.GetObjectKind().GroupVersionKind()
		s.eventually(kind.Kind+" has no owner", func() error {
			u, err := s.read(kind, d.GetName())
			if err == nil && len(u.GetOwnerReferences()) > 0 {
				err = fmt.Errorf("it has %v", u.GetOwnerReferences())
			}
			return err
		})
		if _, err := applier.Apply(s.Context(), d, owner); !errors.Is(err, apply.ErrOwnerDeleted) {
			t.Errorf("%s: %v, want %v", kind.Kind, err, apply.ErrOwnerDeleted)
		}
		if u, err := s.read(kind, d.GetName()); err != nil || len(u.GetOwnerReferences()) > 0 {
			t.Errorf("%s has the owners %v (error: %v)", kind.Kind, u.GetOwnerReferences(), err)
		}
	}
}

// TestRemovalKeepsTheMachine follows the documented removal that keeps the machines:
// the rules are removed from the pods, and the other objects remain.
func TestRemovalKeepsTheMachine(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	vm := s.awaitVM(o.Name)
	s.orphan(o)
	if err := s.Delete(s.Context(), nat); err != nil {
		t.Fatal(err)
	}
	s.runWriter(nat.UID, ruleio.OperationRemove, ruleio.OutcomeRemoved)
	s.eventually("the PodNATConfiguration is deleted", func() error {
		return gone(s.Get(s.Context(), client.ObjectKeyFromObject(nat), nat.DeepCopy()))
	})
	if got := s.awaitVM(o.Name); got.UID != vm.UID || !got.DeletionTimestamp.IsZero() {
		t.Errorf("the VirtualMachine was replaced or is being deleted: UID %s, before %s", got.UID, vm.UID)
	}
}
