// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// Namespace creates a namespace with sidecar injection for the test. It is deleted
// with its machines at the end of the test. The name is e2e- and the given name.
func (t *T) Namespace(name string) *scenario.Scenario {
	t.Helper()
	s := t.Scenario().In("e2e-" + name)
	ctx := t.Limit(4 * time.Minute)
	// A run that was killed leaves a namespace.
	t.NoError(removeNamespace(ctx, s, true))
	t.NoError(s.ApplyObjects(ctx, []*unstructured.Unstructured{namespaceObject(s.SampleNamespace(), true)}))
	t.Cleanup(func() {
		ctx, cancel := t.CleanupLimit(3 * time.Minute)
		defer cancel()
		if t.Failed() {
			printObjects(ctx, t, s)
		}
		// The cluster may have been restarted.
		if err := removeNamespace(ctx, t.Scenario().In(s.SampleNamespace()), false); err != nil {
			t.Errorf("delete namespace %s: %v", s.SampleNamespace(), err)
		}
	})
	return s
}

func namespaceObject(name string, injected bool) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("v1")
	u.SetKind("Namespace")
	u.SetName(name)
	if injected {
		u.SetLabels(map[string]string{"istio-injection": "enabled"})
	}
	return u
}

// removeNamespace deletes the machines of a namespace, waits until their pods are
// deleted, and deletes the namespace. If wait is set, it waits until the namespace
// is deleted.
func removeNamespace(ctx context.Context, s *scenario.Scenario, wait bool) error {
	namespace := namespaceObject(s.SampleNamespace(), false)
	if err := s.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
		return client.IgnoreNotFound(err)
	}
	if err := removeMachines(ctx, s); err != nil {
		return err
	}
	if wait {
		return s.DeleteObjects(ctx, []*unstructured.Unstructured{namespaceObject(s.SampleNamespace(), false)})
	}
	return client.IgnoreNotFound(s.Delete(ctx, namespace))
}

// removeMachines deletes the MeshedVirtualMachines of a namespace and waits until
// their pods are deleted.
func removeMachines(ctx context.Context, s *scenario.Scenario) error {
	machines := &unstructured.UnstructuredList{}
	machines.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MeshedVirtualMachineList"))
	if err := s.List(ctx, machines, client.InNamespace(s.SampleNamespace())); err != nil {
		if apimeta.IsNoMatchError(err) || apierrors.IsNotFound(err) {
			return nil // the CRD does not exist
		}
		return err
	}
	all := make([]*unstructured.Unstructured, 0, len(machines.Items))
	for i := range machines.Items {
		all = append(all, &machines.Items[i])
	}
	if err := s.DeleteObjects(ctx, all); err != nil {
		return err
	}
	return s.Wait(ctx, "the virt-launcher pods in "+s.SampleNamespace()+" to be deleted", func(ctx context.Context) (string, error) {
		var pods corev1.PodList
		err := s.List(ctx, &pods, client.InNamespace(s.SampleNamespace()), client.MatchingLabels{"kubevirt.io": "virt-launcher"})
		if err != nil || len(pods.Items) == 0 {
			return "", err
		}
		return pods.Items[0].Name, nil
	})
}

// RemoveMachines deletes the machines in the namespace of the scenario.
func (t *T) RemoveMachines(s *scenario.Scenario) {
	t.Helper()
	ctx, cancel := t.CleanupLimit(2 * time.Minute)
	defer cancel()
	if err := removeMachines(ctx, s); err != nil {
		t.Errorf("delete the machines in %s: %v", s.SampleNamespace(), err)
	}
}

// printObjects prints the state of a namespace and the manager's log after a
// failure.
func printObjects(ctx context.Context, t *T, s *scenario.Scenario) {
	t.Helper()
	for _, args := range []string{
		"get mvm,podnat,vmi,pods -o wide -n " + s.SampleNamespace(),
		"get events --sort-by=.lastTimestamp -n " + s.SampleNamespace(),
		"logs --tail=40 deployment/" + scenario.OperatorDeployment + " -n " + scenario.OperatorNamespace,
	} {
		var out strings.Builder
		err := s.Kubectl(ctx, cluster.Stdio{Out: &out, Err: &out}, strings.Fields(args)...)
		t.Logf("kubectl %s (error: %v)\n%s", args, err, out.String())
	}
}

// Sample is the machine of config/samples with its virt-launcher pod and two
// clients.
type Sample struct {
	*scenario.Scenario
	Pod     *corev1.Pod
	Clients scenario.Clients
}

// SharedSample returns the sample in the namespace of the demo. Tests do not change
// it. It is created once per phase and deleted at the end of the phase.
func (t *T) SharedSample() *Sample {
	t.Helper()
	t.Operator()
	t.Suite.samples.Lock()
	defer t.Suite.samples.Unlock()
	t.Suite.mu.Lock()
	sample := t.Suite.sample
	t.Suite.mu.Unlock()
	if sample != nil {
		return sample
	}
	sample = t.makeSample(t.Scenario())
	t.Suite.mu.Lock()
	defer t.Suite.mu.Unlock()
	t.Suite.sample = sample
	return sample
}

// Sample creates the sample in the test's namespace. The operator must be
// deployed.
func (t *T) Sample(s *scenario.Scenario) *Sample {
	t.Helper()
	return t.makeSample(s)
}

func (t *T) makeSample(s *scenario.Scenario) *Sample {
	t.Helper()
	begin := time.Now()
	ctx := t.Limit(10 * time.Minute)
	pod, clients, err := s.Sample(ctx)
	t.NoError(err)
	t.Logf("the sample in %s is Ready and its guest answers after %.1f s", s.SampleNamespace(), time.Since(begin).Seconds())
	t.CheckSkew(ctx, s, pod)
	return &Sample{Scenario: s, Pod: pod, Clients: clients}
}

// removeSample deletes the shared sample.
func (s *Suite) removeSample(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	sample := s.sample
	s.sample = nil
	s.mu.Unlock()
	if sample == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 3*time.Minute)
	defer cancel()
	outside := &corev1.Pod{}
	outside.Namespace, outside.Name = sample.Clients.Outside.Namespace, sample.Clients.Outside.Name
	err := errors.Join(removeNamespace(ctx, sample.Scenario, true), client.IgnoreNotFound(sample.Delete(ctx, outside)))
	if err != nil {
		t.Errorf("delete the sample: %v", err)
	}
}

// CheckPackets checks the paths of packets, each in a subtest.
func (t *T) CheckPackets(s *Sample) {
	t.Helper()
	checks, err := s.Packets(t.Limit(5*time.Minute), s.Pod, s.Clients)
	t.NoError(err)
	for _, c := range checks {
		t.Step(c.Name, func(t *T) {
			t.Log(c.Seen)
			if c.Err != nil {
				t.Errorf("want %s: %v", c.Want, c.Err)
			}
		})
	}
}

// Object returns an object of this project's API without its contents.
func Object(kind string, key client.ObjectKey) *unstructured.Unstructured {
	return object(v1alpha1.GroupVersion.String(), kind, key)
}

// KubeVirtObject returns an object of KubeVirt's API without its contents.
func KubeVirtObject(kind string, key client.ObjectKey) *unstructured.Unstructured {
	return object("kubevirt.io/v1", kind, key)
}

func object(apiVersion, kind string, key client.ObjectKey) *unstructured.Unstructured {
	u := &unstructured.Unstructured{}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	u.SetNamespace(key.Namespace)
	u.SetName(key.Name)
	return u
}
