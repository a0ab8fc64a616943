// SPDX-License-Identifier: Apache-2.0

package testenv_test

import (
	"context"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	"meshvm.io/meshvm/test/testenv"
)

// TestControllerManager checks that kube-controller-manager creates the pod of a Job.
func TestControllerManager(t *testing.T) {
	env := testenv.Start(t, testenv.Options{Controllers: testenv.DefaultControllers, WithoutMeshVM: true})
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: "job"},
		Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "c", Image: "i"}},
		}}},
	}
	if err := env.Client.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	pods := &corev1.PodList{}
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, time.Minute, true,
		func(ctx context.Context) (bool, error) {
			err := env.Client.List(ctx, pods)
			return len(pods.Items) == 1, err
		})
	if err != nil {
		t.Fatalf("the Job does not have a pod: %v", err)
	}
}

// TestCRDs checks that the API server accepts all CRDs, and that they can be
// installed and removed at run time.
func TestCRDs(t *testing.T) {
	env := testenv.Start(t, testenv.Options{Istio: true})
	groups := func() map[string]int {
		t.Helper()
		list := &extv1.CustomResourceDefinitionList{}
		if err := env.Client.List(t.Context(), list); err != nil {
			t.Fatal(err)
		}
		n := map[string]int{}
		for _, crd := range list.Items {
			n[crd.Spec.Group]++
		}
		return n
	}

	before := groups()
	if before["meshvm.io"] != 3 || before["networking.istio.io"] == 0 || before["kubevirt.io"] != 0 {
		t.Fatalf("installed at start: %v", before)
	}
	if err := env.InstallKubeVirt(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := groups()["kubevirt.io"]; n == 0 {
		t.Error("KubeVirt's CRDs are not installed")
	}
	if err := env.RemoveCRDs(t.Context(), "kubevirt.io"); err != nil {
		t.Fatal(err)
	}
	if n := groups()["kubevirt.io"]; n != 0 {
		t.Errorf("%d CRDs of KubeVirt still exist", n)
	}
}
