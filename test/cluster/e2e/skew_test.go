//go:build linux

package e2e

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// restarted deletes the sample's machine instance, which KubeVirt makes anew, and
// waits until its new guest answers.
func restarted(t *testing.T, s *scenario.Scenario, old *corev1.Pod) (*corev1.Pod, scenario.Clients) {
	t.Helper()
	ctx := testContext(t, 10*time.Minute)
	if err := s.Delete(ctx, vmi()); err != nil {
		t.Fatal(err)
	}
	await(ctx, t, "another launcher pod", func() bool {
		pod, err := s.WaitReady(ctx)
		return err == nil && pod.UID != old.UID
	})
	return ready(t, s)
}

// istioInit is Istio's init container in a pod.
func istioInit(t *testing.T, pod *corev1.Pod) corev1.Container {
	t.Helper()
	i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "istio-init" })
	if i < 0 {
		t.Fatalf("pod %s was not injected", pod.Name)
	}
	return pod.Spec.InitContainers[i]
}

// TestNativeNftables is the demo's scenario with the other way in which Istio
// writes its rules.
func TestNativeNftables(t *testing.T) {
	s := start(t)
	pod, _ := ready(t, s)
	ctx := testContext(t, 10*time.Minute)
	if err := s.UseNativeNftables(ctx, true); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := s.UseNativeNftables(ctx, false); err != nil {
			t.Error(err)
		}
	}()
	pod, clients := restarted(t, s, pod)
	args := istioInit(t, pod).Args
	t.Logf("istio-init: %v", args)
	if !slices.Contains(args, "--native-nftables") {
		t.Error("Istio's injector did not choose nftables")
	}
	if _, err := s.PodNetnsExec(ctx, string(pod.UID), "nft", "list", "table", "inet", "istio-proxy-nat"); err != nil {
		t.Errorf("Istio's own table: %v", err)
	}
	packets(t, s, pod, clients)
}

// withoutAnnotation takes the annotation and the label away from machines of the
// sample's namespace, as if another tool had made them: what is left is injection by
// the namespace's label, of which KubeVirt is not told.
const withoutAnnotation = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: without-annotation}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [kubevirt.io], apiVersions: [v1], operations: [CREATE], resources: [virtualmachineinstances]}
    namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: shop}}
  failurePolicy: Fail
  reinvocationPolicy: Never
  mutations:
  - patchType: JSONPatch
    jsonPatch:
      expression: >-
        [JSONPatch{op: "remove", path: "/metadata/annotations/sidecar.istio.io~1inject"},
         JSONPatch{op: "remove", path: "/metadata/labels/sidecar.istio.io~1inject"}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: without-annotation}
spec: {policyName: without-annotation}
`

// TestNamespaceLabelOnly is the scenario with a pod that only the namespace's
// label has injected: KubeVirt's own rules are then the ones of a pod without a
// proxy.
func TestNamespaceLabelOnly(t *testing.T) {
	s := start(t)
	pod, _ := ready(t, s)
	ctx := testContext(t, 10*time.Minute)
	if err := s.ApplyManifest(ctx, []byte(withoutAnnotation)); err != nil {
		t.Fatal(err)
	}
	defer func() {
		for _, kind := range []string{"MutatingAdmissionPolicyBinding", "MutatingAdmissionPolicy"} {
			u := &metav1.PartialObjectMetadata{}
			u.SetGroupVersionKind(object(kind, "").GroupVersionKind())
			u.APIVersion, u.Name = "admissionregistration.k8s.io/v1", "without-annotation"
			if err := s.Delete(ctx, u); client.IgnoreNotFound(err) != nil {
				t.Error(err)
			}
		}
	}()
	pod, clients := restarted(t, s, pod)
	if a := pod.Annotations["sidecar.istio.io/inject"]; a != "" {
		t.Errorf("the pod has the annotation (%q)", a)
	}
	t.Logf("istio-init: %v", istioInit(t, pod).Args)
	packets(t, s, pod, clients)
}
