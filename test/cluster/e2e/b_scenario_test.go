// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// deployed is the cluster that has the operator from this run of the tests.
var deployed *scenario.Scenario

// ready brings the scenario to where packets can be sent.
func ready(t *testing.T, s *scenario.Scenario) (*corev1.Pod, scenario.Clients) {
	t.Helper()
	begin := time.Now()
	prepare := s.Run
	if deployed == s {
		prepare = s.Sample
	}
	pod, clients, err := prepare(testContext(t, 15*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	deployed = s
	t.Logf("operator deployed, sample Ready and guest answering after %.1f s", time.Since(begin).Seconds())
	checkSkew(t.Context(), t, s, pod)
	return pod, clients
}

// remove takes away the operator, and before it all machines.
func remove(ctx context.Context, t *testing.T, s *scenario.Scenario, r scenario.Release) {
	t.Helper()
	deployed, twoMachines.made = nil, false
	if err := s.Remove(ctx, r); err != nil {
		t.Fatal(err)
	}
}

// packets checks the ways of packets, each as a subtest.
func packets(t *testing.T, s *scenario.Scenario, pod *corev1.Pod, clients scenario.Clients) {
	t.Helper()
	checks, err := s.Packets(testContext(t, 5*time.Minute), pod, clients)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range checks {
		t.Run(c.Name, func(t *testing.T) {
			t.Log(c.Seen)
			if c.Err != nil {
				t.Errorf("want %s: %v", c.Want, c.Err)
			}
		})
	}
}

// TestScenario is the demo.
func TestScenario(t *testing.T) {
	s := start(t)
	pod, clients := ready(t, s)
	packets(t, s, pod, clients)
}

func object(kind, name string) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(kind))
	u.SetNamespace(scenario.Namespace)
	u.SetName(name)
	return u
}

// TestNodeCrash ends the node without a warning and brings it back: the guest
// is started again by KubeVirt, and its new pod is programmed.
func TestNodeCrash(t *testing.T) {
	own(t)
	s := start(t)
	pod, _ := ready(t, s)
	shared = nil
	if err := s.Down(true); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, options.Name, machine)
	begin := time.Now()
	c, err := cluster.Up(testContext(t, 10*time.Minute), options)
	if err != nil {
		t.Fatal(err)
	}
	shared = scenario.New(c)
	t.Logf("the cluster was back after %.1f s", time.Since(begin).Seconds())
	again, clients := ready(t, shared)
	t.Logf("the sample was Ready and its guest answered %.1f s after the start", time.Since(begin).Seconds())
	if again.UID == pod.UID {
		t.Error("the pod is the one from before the crash")
	}
	packets(t, shared, again, clients)
}

// TestDeletion deletes the sample's object: all that was made for it goes, as its
// status named it, and the pod.
func TestDeletion(t *testing.T) {
	s := start(t)
	pod, _ := ready(t, s)
	ctx := testContext(t, 5*time.Minute)
	m, err := s.MeshedVirtualMachine(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(m.Status.RelatedObjects); n < 6 {
		t.Errorf("status.relatedObjects has %d objects: %v", n, m.Status.RelatedObjects)
	}
	if err := s.Delete(ctx, object("MeshedVirtualMachine", scenario.Name)); err != nil {
		t.Fatal(err)
	}
	err = s.Wait(ctx, "the objects to go", func(ctx context.Context) (string, error) {
		if _, err := s.MeshedVirtualMachine(ctx); !apierrors.IsNotFound(err) {
			return "the MeshedVirtualMachine", err
		}
		for _, r := range m.Status.RelatedObjects {
			u := &unstructured.Unstructured{}
			u.SetAPIVersion(r.APIVersion)
			u.SetKind(r.Kind)
			if err := s.Get(ctx, client.ObjectKey{Namespace: scenario.Namespace, Name: r.Name}, u); !apierrors.IsNotFound(err) {
				return r.Kind + " " + r.Name, err
			}
		}
		var p corev1.Pod
		if err := s.Get(ctx, client.ObjectKeyFromObject(pod), &p); !apierrors.IsNotFound(err) {
			return "the pod", err
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
