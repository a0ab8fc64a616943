// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/e2e/suite"
)

// packets checks the paths of packets to and from the sample's guest, like the
// demo.
func packets(t *suite.T) { t.CheckPackets(t.SharedSample()) }

// injectedPod prints the containers and annotations that Istio's injector added to
// the virt-launcher pod, and checks those that the operator depends on.
func injectedPod(t *suite.T) {
	pod := t.SharedSample().Pod
	var names []string
	for _, c := range pod.Spec.InitContainers {
		native := ""
		if c.RestartPolicy != nil {
			native = " (native sidecar)"
		}
		names = append(names, c.Name+native)
		if strings.HasPrefix(c.Name, "istio-") {
			t.Logf("%s: image %s, args %q, security context %s", c.Name, c.Image, c.Args, c.SecurityContext.String())
		}
	}
	t.Logf("init containers in order: %s", strings.Join(names, ", "))
	for _, key := range []string{"sidecar.istio.io/status", "traffic.sidecar.istio.io/kubevirtInterfaces", "istio.io/reroute-virtual-interfaces"} {
		t.Logf("annotation %s: %s", key, pod.Annotations[key])
	}
	if !strings.Contains(pod.Annotations["sidecar.istio.io/status"], `"istio-proxy"`) {
		t.Error("the annotation sidecar.istio.io/status does not contain istio-proxy")
	}
	if pod.Labels["security.istio.io/tlsMode"] != "istio" {
		t.Errorf("label security.istio.io/tlsMode is %q, so clients do not use mutual TLS", pod.Labels["security.istio.io/tlsMode"])
	}
	if !slices.Contains(t.IstioInit(pod).Args, "istio-iptables") {
		t.Errorf("istio-init has the arguments %v, want istio-iptables", t.IstioInit(pod).Args)
	}
	if !slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "istio-proxy" }) {
		t.Error("the pod has no container istio-proxy")
	}
}

// warningHandler collects the warnings of the API server's webhooks.
type warningHandler struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeader is called for each Warning header of a response.
func (w *warningHandler) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

// take returns the warnings since the last call.
func (w *warningHandler) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := w.all
	w.all = nil
	return all
}

// warnings creates every sample and a copy of every object that the operator
// created for it in dry-run mode. The webhooks of KubeVirt, Istio and the operator
// must accept the objects without a warning.
func warnings(t *suite.T) {
	s := t.SharedSample()
	ctx := t.Limit(5 * time.Minute)
	handler := &warningHandler{}
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	t.NoError(err)
	config.WarningHandler = handler
	c, err := client.New(config, client.Options{})
	t.NoError(err)
	samples, err := s.Kustomize(ctx, filepath.Join(s.Builder().Repo, "config/samples"))
	t.NoError(err)
	objects, err := kube.Decode(samples)
	t.NoError(err)
	objects = append(objects, children(ctx, t, s)...)
	for _, o := range objects {
		what := o.GetKind() + " " + o.GetName()
		if err := c.Create(ctx, copyOf(o), client.DryRunAll); err != nil {
			t.Errorf("%s was rejected: %v", what, err)
		}
		got := handler.take()
		t.Logf("%s: accepted, warnings: %q", what, got)
		if len(got) > 0 {
			t.Errorf("%s: warnings %q", what, got)
		}
	}
}

// children returns the objects that the operator created for the sample.
func children(ctx context.Context, t *suite.T, s *suite.Sample) []*unstructured.Unstructured {
	t.Helper()
	m, err := s.MeshedVirtualMachine(ctx)
	t.NoError(err)
	var out []*unstructured.Unstructured
	for _, r := range m.Status.RelatedObjects {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion(r.APIVersion)
		u.SetKind(r.Kind)
		t.NoError(s.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: r.Name}, u))
		out = append(out, u)
	}
	if len(out) < 5 {
		t.Fatalf("status.relatedObjects has %d objects, want at least a VirtualMachine, a Service and three of Istio's kinds", len(out))
	}
	return out
}

// copyOf returns a new object with the spec, the labels and the annotations of an
// existing object.
func copyOf(o *unstructured.Unstructured) *unstructured.Unstructured {
	out := &unstructured.Unstructured{Object: map[string]any{"spec": o.Object["spec"]}}
	out.SetGroupVersionKind(o.GroupVersionKind())
	out.SetNamespace(o.GetNamespace())
	out.SetName(fmt.Sprintf("%.40s-again", o.GetName()))
	out.SetLabels(o.GetLabels())
	out.SetAnnotations(o.GetAnnotations())
	for _, f := range []string{"clusterIP", "clusterIPs"} {
		unstructured.RemoveNestedField(out.Object, "spec", f)
	}
	return out
}

// deletion deletes a MeshedVirtualMachine. The objects in its status and its pod
// must be deleted, too.
func deletion(t *suite.T) {
	t.Operator()
	s := t.Sample(t.Namespace("deletion"))
	ctx := t.Limit(5 * time.Minute)
	m, err := s.MeshedVirtualMachine(ctx)
	t.NoError(err)
	if n := len(m.Status.RelatedObjects); n < 6 {
		t.Errorf("status.relatedObjects has %d objects, want at least 6: %v", n, m.Status.RelatedObjects)
	}
	t.NoError(s.Delete(ctx, suite.Object("MeshedVirtualMachine", s.SampleKey())))
	t.NoError(s.Wait(ctx, "the objects to be deleted", func(ctx context.Context) (string, error) {
		if _, err := s.MeshedVirtualMachine(ctx); !apierrors.IsNotFound(err) {
			return "the MeshedVirtualMachine", err
		}
		for _, r := range m.Status.RelatedObjects {
			u := &unstructured.Unstructured{}
			u.SetAPIVersion(r.APIVersion)
			u.SetKind(r.Kind)
			if err := s.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: r.Name}, u); !apierrors.IsNotFound(err) {
				return r.Kind + " " + r.Name, err
			}
		}
		var p corev1.Pod
		if err := s.Get(ctx, client.ObjectKeyFromObject(s.Pod), &p); !apierrors.IsNotFound(err) {
			return "the virt-launcher pod", err
		}
		return "", nil
	}))
}
