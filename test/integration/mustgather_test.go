// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/mustgather"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestMustGather collects from a cluster with an installation and a tenant.
// Without a kubelet, the logs are simulated.
func TestMustGather(t *testing.T) {
	s := start(t)
	labels := map[string]string{"app.kubernetes.io/name": "meshvm"}
	manager := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "manager", Labels: labels},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "manager", Image: "localhost/manager:1"}}},
			},
		},
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "manager-0", Labels: labels}, Spec: manager.Spec.Template.Spec}
	secret := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: "key", Labels: labels},
		StringData: map[string]string{"key": "hunter2"},
	}
	mvm := builders.MVM("web").Namespace(s.namespace).
		Annotation("kubectl.kubernetes.io/last-applied-configuration", `{"userData":"hunter2"}`).
		VM(func(vm *kubevirtv1.VirtualMachineSpec) {
			vm.Template.Spec.Volumes = append(vm.Template.Spec.Volumes, kubevirtv1.Volume{Name: "cloudinit", VolumeSource: kubevirtv1.VolumeSource{
				CloudInitNoCloud: &kubevirtv1.CloudInitNoCloudSource{UserData: "password: hunter2"},
			}})
		}).Obj()
	for _, o := range []client.Object{manager, pod, secret, mvm} {
		if err := s.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
		if o != client.Object(mvm) {
			t.Cleanup(func() { _ = s.Delete(context.WithoutCancel(t.Context()), o, client.GracePeriodSeconds(0)) })
		}
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "manager", RestartCount: 1}}
	if err := s.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	s.eventually("the children of web are in its status", func() error {
		if n := len(s.mvm("web").Status.RelatedObjects); n < len(singletons) {
			return fmt.Errorf("%d related objects", n)
		}
		return nil
	})

	since := time.Now().Add(-time.Hour).Truncate(time.Second)
	g := &mustgather.Gatherer{Client: s.Client, Dir: t.TempDir(), Since: since}
	g.Logs = func(_ context.Context, _, _ string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
		if o.SinceTime == nil || !o.SinceTime.Time.Equal(since) {
			t.Errorf("logs since %v, want %v", o.SinceTime, since)
		}
		return io.NopCloser(strings.NewReader("a line\n")), nil
	}
	if err := g.Run(t.Context(), "1.2.3"); err != nil {
		t.Error(err)
	}
	operator, tenant := filepath.Join("namespaces", operatorNamespace), filepath.Join("namespaces", s.namespace)
	for file, want := range map[string]string{
		"version": "meshvm\n1.2.3\n",
		filepath.Join("cluster", "customresourcedefinition", "meshedvirtualmachines.meshvm.io.yaml"): "MeshedVirtualMachine",
		filepath.Join(operator, "deployment", "manager.yaml"):                                        "localhost/manager:1",
		filepath.Join(operator, "pod", "manager-0", "manager.log"):                                   "a line",
		filepath.Join(operator, "pod", "manager-0", "manager.previous.log"):                          "a line",
		filepath.Join(operator, "events.yaml"):                                                       "kind: List",
		filepath.Join(tenant, "meshedvirtualmachine", "web.yaml"):                                    "conditions:",
		filepath.Join(tenant, "virtualmachine", "web.yaml"):                                          "kind: VirtualMachine",
		filepath.Join(tenant, "service", "web.yaml"):                                                 "kind: Service",
	} {
		text, err := os.ReadFile(filepath.Join(g.Dir, file))
		if err != nil || !strings.Contains(string(text), want) {
			t.Errorf("%s: %v, %d bytes, want it to contain %q", file, err, len(text), want)
		}
	}
	err := filepath.WalkDir(g.Dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if strings.Contains(string(text), "hunter2") {
			t.Errorf("%s contains a secret", path)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}
