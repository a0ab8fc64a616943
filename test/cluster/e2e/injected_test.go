// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apimeta "k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// TestInjectedPod prints what Istio's injector made of the launcher pod, and
// checks what the operator relies on.
func TestInjectedPod(t *testing.T) {
	s := start(t)
	pod, _ := ready(t, s)
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
		t.Error("Istio's injector left no word about istio-proxy")
	}
	if pod.Labels["security.istio.io/tlsMode"] != "istio" {
		t.Errorf("label security.istio.io/tlsMode is %q: clients would speak plain text", pod.Labels["security.istio.io/tlsMode"])
	}
	if !slices.Contains(istioInit(t, pod).Args, "istio-iptables") {
		t.Errorf("istio-init runs %v", istioInit(t, pod).Args)
	}
	if !slices.ContainsFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "istio-proxy" }) {
		t.Error("there is no istio-proxy")
	}
}

// warnings collects the warnings that the API server's webhooks return with their verdict.
type warnings struct {
	mu  sync.Mutex
	all []string
}

// HandleWarningHeader is called for each header Warning of an answer.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all = append(w.all, text)
}

// TestNoWarnings applies every sample, and every object that the operator made
// of them, once more and without effect, and collects what KubeVirt's, Istio's
// and our own webhooks report.
func TestNoWarnings(t *testing.T) {
	s := start(t)
	ready(t, s)
	ctx := testContext(t, 5*time.Minute)
	heard := &warnings{}
	config, err := clientcmd.BuildConfigFromFlags("", s.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	config.WarningHandler = heard
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	samples, err := s.Kustomize(ctx, filepath.Join(s.Builder().Repo, "config/samples"))
	if err != nil {
		t.Fatal(err)
	}
	objects, err := kube.Decode(samples)
	if err != nil {
		t.Fatal(err)
	}
	objects = append(objects, children(ctx, t, s)...)
	for _, o := range objects {
		what := o.GetKind() + " " + o.GetName()
		asNew(o)
		if err := c.Create(ctx, o, client.DryRunAll); err != nil {
			t.Errorf("%s is refused: %v", what, err)
		}
		heard.mu.Lock()
		t.Logf("%s: taken, warnings: %q", what, heard.all)
		if len(heard.all) > 0 {
			t.Errorf("%s: warnings %q", what, heard.all)
		}
		heard.all = nil
		heard.mu.Unlock()
	}
}

// children are the objects that the operator made of the sample, as new ones.
func children(ctx context.Context, t *testing.T, s *scenario.Scenario) []*apimeta.Unstructured {
	t.Helper()
	m, err := s.MeshedVirtualMachine(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var out []*apimeta.Unstructured
	for _, r := range m.Status.RelatedObjects {
		u := &apimeta.Unstructured{}
		u.SetAPIVersion(r.APIVersion)
		u.SetKind(r.Kind)
		if err := s.Get(ctx, client.ObjectKey{Namespace: m.Namespace, Name: r.Name}, u); err != nil {
			t.Fatal(err)
		}
		out = append(out, u)
	}
	if len(out) < 5 {
		t.Fatalf("the operator names %d objects, want at least a machine, a Service and three of Istio's", len(out))
	}
	return out
}

// asNew makes a new object of one that there is.
func asNew(o *apimeta.Unstructured) {
	name := fmt.Sprintf("%.40s-again", o.GetName())
	spec, labels, annotations := o.Object["spec"], o.GetLabels(), o.GetAnnotations()
	namespace, kind := o.GetNamespace(), o.GroupVersionKind()
	o.Object = map[string]any{"spec": spec}
	o.SetGroupVersionKind(kind)
	o.SetNamespace(namespace)
	o.SetName(name)
	o.SetLabels(labels)
	o.SetAnnotations(annotations)
	for _, f := range []string{"clusterIP", "clusterIPs"} {
		apimeta.RemoveNestedField(o.Object, "spec", f)
	}
}
