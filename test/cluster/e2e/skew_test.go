// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// restarted deletes the sample's machine instance, which KubeVirt makes again, and
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

// skewVariable has all tests run with a skew, by its name in skews.
const skewVariable = "MESHVM_SKEW"

// skew is a half of a pod's NAT that is written otherwise than on the local cluster.
type skew struct {
	// options, if there are any, are those of a cluster that has it. They are kept for
	// TestNodeCrash, which starts the cluster again.
	options func(o *cluster.Options)
	// use turns it on in a cluster that runs, or off, and waits until pods that are
	// made from then on are so.
	use func(ctx context.Context, s *scenario.Scenario, on bool) error
	// check shows from a launcher pod whose guest runs that it is so.
	check func(ctx context.Context, t *testing.T, s *scenario.Scenario, pod *corev1.Pod)
}

var skews = map[string]skew{
	// Istio writes its rules with nftables instead of iptables.
	"native-nftables": {
		options: func(o *cluster.Options) { o.NativeNftables = true },
		use: func(ctx context.Context, s *scenario.Scenario, on bool) error {
			return s.UseNativeNftables(ctx, on)
		},
		check: func(ctx context.Context, t *testing.T, s *scenario.Scenario, pod *corev1.Pod) {
			t.Helper()
			if args := istioInit(t, pod).Args; !slices.Contains(args, "--native-nftables") {
				t.Errorf("Istio's injector did not choose nftables for %s: %v", pod.Name, args)
			}
			if _, err := s.PodNetnsExec(ctx, string(pod.UID), "nft", "list", "table", "inet", "istio-proxy-nat"); err != nil {
				t.Errorf("%s: Istio's own table: %v", pod.Name, err)
			}
			if !kubevirtKnowsProxy(ctx, t, s, pod) {
				t.Errorf("%s: KubeVirt wrote the rules of a pod without a proxy", pod.Name)
			}
		},
	},
	// Only the namespace's label has a pod injected, and KubeVirt is not reported: its own
	// rules are then those of a pod without a proxy.
	"namespace-label": {
		use: withoutAnnotation,
		check: func(ctx context.Context, t *testing.T, s *scenario.Scenario, pod *corev1.Pod) {
			t.Helper()
			istioInit(t, pod)
			a, annotated := pod.Annotations[injectKey]
			if l, labelled := pod.Labels[injectKey]; annotated || labelled {
				t.Errorf("%s asks for injection itself, by annotation %q or label %q", pod.Name, a, l)
			}
			if kubevirtKnowsProxy(ctx, t, s, pod) {
				t.Errorf("%s: KubeVirt wrote the rules of a pod with a proxy", pod.Name)
			}
		},
	},
}

// kubevirtKnowsProxy shows which rules KubeVirt wrote: those for a pod with Istio's
// proxy have 127.0.0.6, from which Envoy speaks to the guest (KubeVirt,
// pkg/network/setup/netpod/masquerade/masquerade.go and pkg/network/istio/proxy.go).
func kubevirtKnowsProxy(ctx context.Context, t *testing.T, s *scenario.Scenario, pod *corev1.Pod) bool {
	t.Helper()
	rules, err := s.PodNetnsExec(ctx, string(pod.UID), "nft", "list", "chain", "ip", "nat", "KUBEVIRT_POSTINBOUND")
	if err != nil {
		t.Errorf("%s: KubeVirt's own rules: %v", pod.Name, err)
	}
	return strings.Contains(rules, "127.0.0.6")
}

// injectKey is the annotation, and the label, by which a pod asks for injection.
// KubeVirt reads the annotation of the VirtualMachineInstance.
const injectKey = "sidecar.istio.io/inject"

// withoutAnnotation has annotation and label taken away from all machines, as if
// another tool had made them, or ends that.
func withoutAnnotation(ctx context.Context, s *scenario.Scenario, on bool) error {
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
	// The API server follows its policies by a watch.
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

// annotationPolicy refuses a machine that has not both; the operator's have.
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

// annotatedMachine is created without effect, to see what becomes of its annotation.
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

// skewOfRun is the skew that all tests of this run have, if any.
func skewOfRun(t *testing.T) (k skew, skewed bool) {
	t.Helper()
	name := os.Getenv(skewVariable)
	if name == "" {
		return skew{}, false
	}
	k, ok := skews[name]
	if !ok {
		t.Fatalf("%s=%s is not known: leave it out, or choose one of %v", skewVariable, name, slices.Sorted(maps.Keys(skews)))
	}
	if *attach != "" || *keep {
		t.Fatalf("%s changes the cluster for good: leave out -attach and -keep-state", skewVariable)
	}
	return k, true
}

// checkSkew checks that a launcher pod has the skew of the run.
func checkSkew(ctx context.Context, t *testing.T, s *scenario.Scenario, pod *corev1.Pod) {
	t.Helper()
	if k, skewed := skewOfRun(t); skewed {
		k.check(ctx, t, s, pod)
	}
}

// TestNativeNftables is the demo's scenario with the other way in which Istio
// writes its rules.
func TestNativeNftables(t *testing.T) { scenarioWith(t, "native-nftables") }

// TestNamespaceLabelOnly is the scenario with a pod that only the namespace's
// label has injected.
func TestNamespaceLabelOnly(t *testing.T) { scenarioWith(t, "namespace-label") }

// scenarioWith sends the scenario's packets to a machine that was restarted with a
// skew. All other tests have it with skewVariable.
func scenarioWith(t *testing.T, name string) {
	t.Helper()
	s := start(t)
	if _, skewed := skewOfRun(t); skewed {
		t.Skipf("all tests of this run have %s=%s; this one is of a run without it", skewVariable, os.Getenv(skewVariable))
	}
	pod, _ := ready(t, s)
	ctx := testContext(t, 10*time.Minute)
	k := skews[name]
	if err := k.use(ctx, s, true); err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := k.use(ctx, s, false); err != nil {
			t.Error(err)
		}
	}()
	pod, clients := restarted(t, s, pod)
	t.Logf("istio-init: %v", istioInit(t, pod).Args)
	k.check(ctx, t, s, pod)
	packets(t, s, pod, clients)
}
