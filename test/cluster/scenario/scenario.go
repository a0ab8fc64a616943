// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package scenario contains the demo, which the end-to-end tests also use: it
// deploys the operator from its manifests, applies one MeshedVirtualMachine, and
// sends packets to and from its guest.
package scenario

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/kube"
)

// Names of config/ and of its sample.
const (
	OperatorNamespace  = "meshvm-system"
	OperatorDeployment = "meshvm-controller-manager"
	Namespace          = "shop"
	Name               = "web"
)

// Scenario is the demo on one cluster.
type Scenario struct {
	*cluster.Cluster
	// images is set on a cluster that has none of the local cluster's images.
	images *Images
	// namespace contains the sample.
	namespace string
}

// New returns the scenario on a running cluster.
func New(c *cluster.Cluster) *Scenario { return &Scenario{Cluster: c, namespace: Namespace} }

// In returns the scenario with its sample and both clients in another namespace.
func (s *Scenario) In(namespace string) *Scenario {
	other := *s
	other.namespace = namespace
	return &other
}

// SampleNamespace returns the namespace of the sample.
func (s *Scenario) SampleNamespace() string { return s.namespace }

// SampleKey returns the name of the sample's objects.
func (s *Scenario) SampleKey() client.ObjectKey {
	return client.ObjectKey{Namespace: s.namespace, Name: Name}
}

// kustomize builds a directory of config/.
func (s *Scenario) kustomize(ctx context.Context, dir string) ([]byte, error) {
	return s.Kustomize(ctx, filepath.Join(s.Builder().Repo, "config", dir))
}

// AllowUnpause applies config/unpause, which the start gate Pause needs.
func (s *Scenario) AllowUnpause(ctx context.Context) error {
	manifest, err := s.kustomize(ctx, "unpause")
	if err != nil {
		return err
	}
	objects, err := kube.Decode(manifest)
	if err != nil {
		return err
	}
	return s.ApplyObjects(ctx, objects)
}

// ImportOperator builds the operator's images from the checkout and imports them on
// the nodes. It returns the path of their archive.
func (s *Scenario) ImportOperator(ctx context.Context) (string, error) {
	archive, err := s.Builder().OperatorImages(ctx)
	if err != nil {
		return "", err
	}
	return archive, s.ImportImageOnce(ctx, "operator", archive)
}

// DeployOperator imports the operator's images, applies config/default and waits
// for the manager. A manager with older images is replaced.
func (s *Scenario) DeployOperator(ctx context.Context) error {
	archive, err := s.ImportOperator(ctx)
	if err != nil {
		return err
	}
	manifest, err := s.kustomize(ctx, "default")
	if err != nil {
		return err
	}
	objects, err := kube.Decode(manifest)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		// The annotation replaces the pod if the images change, because their names do
		// not change. The pod runs on the first node, which tests do not stop alone,
		// because another manager would wait for the lease for 137 seconds by default.
		err := errors.Join(
			unstructured.SetNestedField(o.Object, filepath.Base(archive), "spec", "template", "metadata", "annotations", "test.meshvm.io/images"),
			unstructured.SetNestedField(o.Object, "", "spec", "template", "spec", "nodeSelector", cluster.ControlPlaneLabel),
		)
		if err != nil {
			return err
		}
	}
	s.Logf("applying config/default: the operator")
	if err := s.ApplyObjects(ctx, objects); err != nil {
		return err
	}
	return s.OperatorReady(ctx)
}

// OperatorReady waits for the rollout, and for a pod of this run of the node.
func (s *Scenario) OperatorReady(ctx context.Context) error {
	key := client.ObjectKey{Namespace: OperatorNamespace, Name: OperatorDeployment}
	return s.Wait(ctx, "the operator", func(ctx context.Context) (string, error) {
		d := unstructured.Unstructured{}
		d.SetAPIVersion("apps/v1")
		d.SetKind("Deployment")
		if err := s.Get(ctx, key, &d); err != nil {
			return "", err
		}
		number := func(fields ...string) int64 {
			n, _, _ := unstructured.NestedInt64(d.Object, fields...)
			return n
		}
		if number("status", "observedGeneration") < d.GetGeneration() ||
			number("status", "updatedReplicas") != number("spec", "replicas") ||
			number("status", "replicas") != number("spec", "replicas") {
			return "its rollout", nil
		}
		return s.PodState(ctx, OperatorNamespace, "app.kubernetes.io/component", "controller-manager")
	})
}

// lease returns the lease of the leader.
func (s *Scenario) lease(ctx context.Context) (*coordinationv1.Lease, error) {
	l := &coordinationv1.Lease{}
	return l, s.Get(ctx, client.ObjectKey{Namespace: OperatorNamespace, Name: "manager.meshvm.io"}, l)
}

// OperatorLeads waits until a manager that is not being deleted holds the lease. A
// manager that is Ready does nothing before that. It polls a released lease once in
// leaderElection.retryPeriodSeconds.
func (s *Scenario) OperatorLeads(ctx context.Context) error {
	return s.Wait(ctx, "the operator to lead", func(ctx context.Context) (string, error) {
		lease, err := s.lease(ctx)
		if err != nil {
			return "", err
		}
		var pods corev1.PodList
		if err := s.List(ctx, &pods, client.InNamespace(OperatorNamespace)); err != nil {
			return "", err
		}
		holder := ptr.Deref(lease.Spec.HolderIdentity, "")
		for i := range pods.Items {
			if p := &pods.Items[i]; p.DeletionTimestamp == nil && strings.HasPrefix(holder, p.Name+"_") {
				return "", nil
			}
		}
		return "a manager that holds the lease; its holder is \"" + holder + "\"", nil
	})
}

// FreeLease deletes the lease of a manager that ended with an earlier run of the
// node, if it was last renewed before all running managers were started. These would
// wait until it expires, 137 seconds by default.
func (s *Scenario) FreeLease(ctx context.Context) error {
	lease, err := s.lease(ctx)
	if err != nil || lease.Spec.RenewTime == nil || ptr.Deref(lease.Spec.HolderIdentity, "") == "" {
		return client.IgnoreNotFound(err)
	}
	var pods corev1.PodList
	if err := s.List(ctx, &pods, client.InNamespace(OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "controller-manager"}); err != nil {
		return err
	}
	for _, p := range pods.Items {
		for _, c := range p.Status.ContainerStatuses {
			if c.State.Running != nil && c.State.Running.StartedAt.Time.Before(lease.Spec.RenewTime.Time) {
				return nil
			}
		}
	}
	s.Logf("deleting the lease of %s, which ended with an earlier run of the node", *lease.Spec.HolderIdentity)
	err = s.Delete(ctx, lease, client.Preconditions{UID: &lease.UID, ResourceVersion: &lease.ResourceVersion})
	if apierrors.IsConflict(err) {
		return nil // another manager has taken it
	}
	return client.IgnoreNotFound(err)
}

// OperatorGone waits until all manager pods are deleted.
func (s *Scenario) OperatorGone(ctx context.Context) error {
	return s.Wait(ctx, "the manager pods to be deleted", func(ctx context.Context) (string, error) {
		var pods corev1.PodList
		err := s.List(ctx, &pods, client.InNamespace(OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "controller-manager"})
		if err != nil || len(pods.Items) == 0 {
			return "", err
		}
		return fmt.Sprintf("%d pods", len(pods.Items)), nil
	})
}

// ApplySample applies config/samples.
func (s *Scenario) ApplySample(ctx context.Context) error {
	manifest, err := s.kustomize(ctx, "samples")
	if err != nil {
		return err
	}
	s.Logf("applying config/samples: MeshedVirtualMachine %s in namespace %s", Name, s.namespace)
	return s.ApplyMachines(ctx, manifest)
}

// ApplyMachines applies a manifest of MeshedVirtualMachines and their namespace in
// the namespace of the sample. It changes the guests for a cluster that does not
// have the local images.
func (s *Scenario) ApplyMachines(ctx context.Context, manifest []byte) error {
	objects, err := kube.Decode(manifest)
	if err != nil {
		return err
	}
	for _, o := range objects {
		if o.GetKind() == "Namespace" {
			o.SetName(s.namespace)
		} else {
			o.SetNamespace(s.namespace)
		}
	}
	if objects, err = s.adapt(objects); err != nil {
		return err
	}
	return s.ApplyObjects(ctx, objects)
}

// MeshedVirtualMachine reads the sample's object.
func (s *Scenario) MeshedVirtualMachine(ctx context.Context) (*v1alpha1.MeshedVirtualMachine, error) {
	return s.Machine(ctx, s.SampleKey())
}

// Machine reads a MeshedVirtualMachine.
func (s *Scenario) Machine(ctx context.Context, key client.ObjectKey) (*v1alpha1.MeshedVirtualMachine, error) {
	u := unstructured.Unstructured{}
	u.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine"))
	if err := s.Get(ctx, key, &u); err != nil {
		return nil, err
	}
	m := &v1alpha1.MeshedVirtualMachine{}
	return m, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, m)
}

// WaitReady is ReadyPod of the sample's object.
func (s *Scenario) WaitReady(ctx context.Context) (*corev1.Pod, error) {
	return s.ReadyPod(ctx, s.SampleKey())
}

// ReadyPod waits until a MeshedVirtualMachine is Ready for its present
// generation and the pod that its status names has processes on a node. It
// returns that pod.
func (s *Scenario) ReadyPod(ctx context.Context, key client.ObjectKey) (*corev1.Pod, error) {
	pod := &corev1.Pod{}
	err := s.Wait(ctx, "MeshedVirtualMachine "+key.Name, func(ctx context.Context) (string, error) {
		m, err := s.Machine(ctx, key)
		if err != nil {
			return "", err
		}
		if missing := notReady(m); missing != "" {
			return missing, nil
		}
		for _, p := range m.Status.Pods {
			if !s.PodRuns(ctx, client.ObjectKey{Namespace: key.Namespace, Name: p.Name}, string(p.UID)) {
				continue // of an earlier run of the node
			}
			return "", s.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: p.Name}, pod)
		}
		return "the pod in its status to be of this run of the node", nil
	})
	return pod, err
}

// notReady explains why an object is not Ready, empty when it is.
func notReady(m *v1alpha1.MeshedVirtualMachine) string {
	ready := apimeta.FindStatusCondition(m.Status.Conditions, string(v1alpha1.ConditionReady))
	switch {
	case ready == nil:
		return "its condition Ready"
	case ready.ObservedGeneration < m.Generation:
		return "the operator to see its generation"
	case ready.Status != metav1.ConditionTrue:
		return ready.Reason + ": " + ready.Message
	}
	return ""
}
