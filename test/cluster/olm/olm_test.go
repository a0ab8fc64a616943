// SPDX-License-Identifier: Apache-2.0

//go:build linux

package olm

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// TestOLM installs the operator from a catalog, waits until the sample is
// Ready, upgrades the operator to a second version while traffic flows, and
// uninstalls it.
func TestOLM(t *testing.T) {
	s := up(t)
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Minute)
	defer cancel()
	line := &timeline{t: t, begin: time.Now()}
	defer line.print()

	deployOLM(ctx, t, s)
	line.mark("OLM's two operators are ready")
	first, second := makeBundle(ctx, t, s, "0.9.1"), makeBundle(ctx, t, s, "0.9.2")
	catalog := makeCatalog(ctx, t, s, first, second)
	line.mark("images, two bundles and a catalog built and imported")
	subscribe(ctx, t, s, catalog, first)
	line.mark("catalog and subscription applied")

	install := func(b bundle) {
		approve(ctx, t, s, b)
		line.mark("%s: install plan approved", b.csv())
		succeeded(ctx, t, s, b, func(phase string) { line.mark("%s: %s", b.csv(), phase) })
	}
	install(first)
	pod, clients := sample(ctx, t, s)
	line.mark("the sample is Ready and its guest responds")
	checkPackets(ctx, t, s, pod, clients)

	t.Run("upgrade", func(t *testing.T) {
		undisturbed(ctx, t, s, pod, clients, func() {
			install(second)
			gone(ctx, t, s, olmObject("ClusterServiceVersion", first.csv()))
			line.mark("%s is deleted", first.csv())
			must(t, s.OperatorLeads(ctx))
			line.mark("the new manager is the leader")
		})
	})
	t.Run("uninstall", func(t *testing.T) {
		undisturbed(ctx, t, s, pod, clients, func() {
			uninstall(ctx, t, s, second)
			line.mark("subscription, CSV and the operator's deployment are deleted")
		})
		checkPackets(ctx, t, s, pod, clients)
	})
}

// sample applies the sample and waits until its guest responds.
func sample(ctx context.Context, t *testing.T, s *scenario.Scenario) (*corev1.Pod, scenario.Clients) {
	t.Helper()
	must(t, s.ApplySample(ctx))
	clients, err := s.MakeClients(ctx)
	must(t, err)
	pod, err := s.WaitReady(ctx)
	must(t, err)
	must(t, s.AwaitGuest(ctx, clients))
	return pod, clients
}

func checkPackets(ctx context.Context, t *testing.T, s *scenario.Scenario, pod *corev1.Pod, clients scenario.Clients) {
	t.Helper()
	checks, err := s.Packets(ctx, pod, clients)
	must(t, err)
	for _, c := range checks {
		if c.Err != nil {
			t.Errorf("%s: want %s, seen %s: %v", c.Name, c.Want, c.Seen, c.Err)
		}
	}
}

// undisturbed changes the operator and fails if the change affects the sample's
// guest or its traffic.
func undisturbed(ctx context.Context, t *testing.T, s *scenario.Scenario, pod *corev1.Pod, clients scenario.Clients, change func()) {
	t.Helper()
	before, err := s.Snapshot(ctx, pod)
	must(t, err)
	watch := s.StartWatch(ctx, pod, clients)
	change()
	time.Sleep(5 * time.Second) // time in which a new operator would apply changes
	seen, err := watch.Stop()
	must(t, err)
	after, err := s.Snapshot(ctx, pod)
	must(t, err)
	scenario.ReportWatch(t, seen)
	scenario.CompareSnapshots(t, before, after)
}

// uninstall removes the operator as described in OLM's documentation: it
// deletes the subscription and the CSV. The CRDs and their objects remain.
func uninstall(ctx context.Context, t *testing.T, s *scenario.Scenario, b bundle) {
	t.Helper()
	for _, o := range []*unstructured.Unstructured{olmObject("Subscription", "meshvm"), olmObject("ClusterServiceVersion", b.csv())} {
		must(t, s.Delete(ctx, o))
		gone(ctx, t, s, o)
	}
	d := &unstructured.Unstructured{}
	d.SetAPIVersion("apps/v1")
	d.SetKind("Deployment")
	d.SetNamespace(scenario.OperatorNamespace)
	d.SetName(scenario.OperatorDeployment)
	gone(ctx, t, s, d)
	must(t, s.OperatorGone(ctx))
	crd := &unstructured.Unstructured{}
	crd.SetAPIVersion("apiextensions.k8s.io/v1")
	crd.SetKind("CustomResourceDefinition")
	must(t, s.Get(ctx, client.ObjectKey{Name: "meshedvirtualmachines.meshvm.io"}, crd))
}

func gone(ctx context.Context, t *testing.T, s *scenario.Scenario, o *unstructured.Unstructured) {
	t.Helper()
	must(t, s.Wait(ctx, o.GetKind()+" "+o.GetName()+" to go", func(ctx context.Context) (string, error) {
		err := s.Get(ctx, client.ObjectKeyFromObject(o), o.DeepCopy())
		if apierrors.IsNotFound(err) {
			return "", nil
		}
		return "its deletion", err
	}))
}
