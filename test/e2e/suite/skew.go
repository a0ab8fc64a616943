// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"context"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// skew is a variant of the rules that Istio or KubeVirt write in a pod.
type skew struct {
	// options are optional changes of the options with which the cluster is started.
	options func(o *cluster.Options)
	// use turns the skew on or off in a running cluster, and waits until it is in
	// effect for new pods.
	use func(ctx context.Context, s *scenario.Scenario, on bool) error
	// check checks that a virt-launcher pod has the skew. The pod's guest runs.
	check func(ctx context.Context, t *T, s *scenario.Scenario, pod *corev1.Pod)
}

var skews = map[string]skew{
	// Istio writes its rules with nftables instead of iptables.
	"native-nftables": {
		options: func(o *cluster.Options) { o.NativeNftables = true },
		use: func(ctx context.Context, s *scenario.Scenario, on bool) error {
			return s.UseNativeNftables(ctx, on)
		},
		check: func(ctx context.Context, t *T, s *scenario.Scenario, pod *corev1.Pod) {
			t.Helper()
			if args := t.IstioInit(pod).Args; !slices.Contains(args, "--native-nftables") {
				t.Errorf("Istio's injector did not choose nftables for %s: %v", pod.Name, args)
			}
			if _, err := s.PodNetnsExec(ctx, string(pod.UID), "nft", "list", "table", "inet", "istio-proxy-nat"); err != nil {
				t.Errorf("%s: Istio's nftables table: %v", pod.Name, err)
			}
			if !kubevirtKnowsProxy(ctx, t, s, pod) {
				t.Errorf("%s: KubeVirt wrote the rules of a pod without a proxy", pod.Name)
			}
		},
	},
	// Pods are injected because of the namespace's label only. KubeVirt does not know
	// of the proxy and writes the rules of a pod without a proxy.
	"namespace-label": {
		use: useNamespaceLabelOnly,
		check: func(ctx context.Context, t *T, s *scenario.Scenario, pod *corev1.Pod) {
			t.Helper()
			t.IstioInit(pod)
			a, annotated := pod.Annotations[injectKey]
			if l, labelled := pod.Labels[injectKey]; annotated || labelled {
				t.Errorf("%s requests injection by annotation %q or label %q", pod.Name, a, l)
			}
			if kubevirtKnowsProxy(ctx, t, s, pod) {
				t.Errorf("%s: KubeVirt wrote the rules of a pod with a proxy", pod.Name)
			}
		},
	},
}

// UseSkew turns a skew on for the test. It skips the test if all tests of this run
// have a skew.
func (t *T) UseSkew(name string) {
	t.Helper()
	if t.Suite.skew != "" {
		t.Skipf("all tests of this run have %s=%s", skewVariable, t.Suite.skew)
	}
	// Registered first, because turning it on can fail halfway.
	t.Cleanup(func() {
		ctx, cancel := t.CleanupLimit(5 * time.Minute)
		defer cancel()
		if err := skews[name].use(ctx, t.Scenario(), false); err != nil {
			t.Errorf("turn %s off: %v", name, err)
		}
	})
	if err := skews[name].use(t.Limit(5*time.Minute), t.Scenario(), true); err != nil {
		t.Fatalf("turn %s on: %v", name, err)
	}
}

// CheckSkewOf checks that a virt-launcher pod has a skew.
func (t *T) CheckSkewOf(ctx context.Context, name string, s *scenario.Scenario, pod *corev1.Pod) {
	t.Helper()
	skews[name].check(ctx, t, s, pod)
}

// CheckSkew checks that a virt-launcher pod has the skew of the run, if any.
func (t *T) CheckSkew(ctx context.Context, s *scenario.Scenario, pod *corev1.Pod) {
	t.Helper()
	if t.Suite.skew != "" {
		skews[t.Suite.skew].check(ctx, t, s, pod)
	}
}

// IstioInit returns Istio's init container of a pod.
func (t *T) IstioInit(pod *corev1.Pod) corev1.Container {
	t.Helper()
	i := slices.IndexFunc(pod.Spec.InitContainers, func(c corev1.Container) bool { return c.Name == "istio-init" })
	if i < 0 {
		t.Fatalf("pod %s has no container istio-init: Istio did not inject it", pod.Name)
	}
	return pod.Spec.InitContainers[i]
}

// kubevirtKnowsProxy reports whether KubeVirt wrote the rules of a pod with Istio's
// proxy. Only these contain 127.0.0.6, the source address of Envoy's connections to
// the guest (KubeVirt, pkg/network/setup/netpod/masquerade/masquerade.go and
// pkg/network/istio/proxy.go).
func kubevirtKnowsProxy(ctx context.Context, t *T, s *scenario.Scenario, pod *corev1.Pod) bool {
	t.Helper()
	rules, err := s.PodNetnsExec(ctx, string(pod.UID), "nft", "list", "chain", "ip", "nat", "KUBEVIRT_POSTINBOUND")
	if err != nil {
		t.Errorf("%s: KubeVirt's rules: %v", pod.Name, err)
	}
	return strings.Contains(rules, "127.0.0.6")
}

// injectKey is the annotation and the label by which a pod requests injection.
// KubeVirt reads the annotation of the VirtualMachineInstance.
const injectKey = "sidecar.istio.io/inject"

// useNamespaceLabelOnly removes annotation and label from all new
// VirtualMachineInstances, as if another tool had created them, or stops removing
// them.
func useNamespaceLabelOnly(ctx context.Context, s *scenario.Scenario, on bool) error {
	policy, err := kube.Decode([]byte(annotationPolicy))
	if err != nil {
		return err
	}
	if on {
		err = s.ApplyManifest(ctx, []byte(annotationPolicy))
	} else {
		err = s.DeleteObjects(ctx, policy)
	}
	if err != nil {
		return err
	}
	// The API server reads its policies with a watch.
	return s.Wait(ctx, "the policy without-annotation", func(ctx context.Context) (string, error) {
		probe, err := kube.Decode([]byte(annotatedMachine))
		if err != nil {
			return "", kube.Permanent(err)
		}
		if err := s.Create(ctx, probe[0], client.DryRunAll); err != nil {
			return "", err
		}
		if _, annotated := probe[0].GetAnnotations()[injectKey]; annotated == on {
			return "its effect", nil
		}
		return "", nil
	})
}

// annotationPolicy rejects an instance without the annotation or without the label.
// The operator sets both.
const annotationPolicy = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicy
metadata: {name: without-annotation}
spec:
  matchConstraints:
    resourceRules:
    - {apiGroups: [kubevirt.io], apiVersions: [v1], operations: [CREATE], resources: [virtualmachineinstances]}
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

// annotatedMachine is created in dry-run mode, to read the resulting annotations.
const annotatedMachine = `
apiVersion: kubevirt.io/v1
kind: VirtualMachineInstance
metadata:
  name: annotated
  namespace: default
  annotations: {sidecar.istio.io/inject: "true"}
  labels: {sidecar.istio.io/inject: "true"}
spec: {domain: {memory: {guest: 64Mi}, devices: {}}}
`
