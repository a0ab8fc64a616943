//go:build linux

package e2e

import (
	"context"
	"errors"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/kube"
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

// skewVariable has all tests run with another way of injection, by its name in
// skews: make test-e2e SKEW=native-nftables.
const skewVariable = "MESHVM_SKEW"

// skew is a way in which pods are injected, other than the local cluster's own.
type skew struct {
	// options of a cluster that has it from its start.
	options func(o *cluster.Options)
	// use turns it on in a cluster that runs, or off: pods that are made from then
	// on are injected so.
	use func(ctx context.Context, s *scenario.Scenario, on bool) error
	// check tells from a launcher pod that it was injected so.
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
			if args := istioInit(t, pod).Args; !slices.Contains(args, "--native-nftables") {
				t.Errorf("Istio's injector did not choose nftables for %s: %v", pod.Name, args)
			}
			if _, err := s.PodNetnsExec(ctx, string(pod.UID), "nft", "list", "table", "inet", "istio-proxy-nat"); err != nil {
				t.Errorf("%s: Istio's own table: %v", pod.Name, err)
			}
		},
	},
	// Only the namespace's label has a pod injected, and KubeVirt is not told: its own
	// rules are then those of a pod without a proxy.
	"namespace-label": {
		options: func(*cluster.Options) {},
		use: func(ctx context.Context, s *scenario.Scenario, on bool) error {
			if on {
				return s.ApplyManifest(ctx, []byte(withoutAnnotation))
			}
			objects, err := kube.Decode([]byte(withoutAnnotation))
			for _, o := range objects {
				err = errors.Join(err, client.IgnoreNotFound(s.Delete(ctx, o)))
			}
			return err
		},
		check: func(_ context.Context, t *testing.T, _ *scenario.Scenario, pod *corev1.Pod) {
			istioInit(t, pod)
			a, annotated := pod.Annotations["sidecar.istio.io/inject"]
			if l, labelled := pod.Labels["sidecar.istio.io/inject"]; annotated || labelled {
				t.Errorf("%s asks for injection itself, by annotation %q or label %q", pod.Name, a, l)
			}
		},
	},
}

// withoutAnnotation takes the annotation and the label away from all machines, as if
// another tool had made them.
const withoutAnnotation = `
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingAdmissionPolicyBinding
metadata: {name: without-annotation}
spec: {policyName: without-annotation}
---
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
`

// wholeRun is the way of injection that all tests of this run have, if it is not
// the local cluster's own.
func wholeRun(t *testing.T) (skew, bool) {
	t.Helper()
	name := os.Getenv(skewVariable)
	if name == "" {
		return skew{}, false
	}
	k, ok := skews[name]
	if !ok {
		t.Fatalf("%s=%s: there are %v", skewVariable, name, slices.Sorted(maps.Keys(skews)))
	}
	return k, true
}

// TestNativeNftables is the demo's scenario with the other way in which Istio
// writes its rules.
func TestNativeNftables(t *testing.T) { scenarioUnder(t, "native-nftables") }

// TestNamespaceLabelOnly is the scenario with a pod that only the namespace's
// label has injected.
func TestNamespaceLabelOnly(t *testing.T) { scenarioUnder(t, "namespace-label") }

// scenarioUnder sends the scenario's packets to a machine that was restarted under
// a way of injection. All other tests run under it with skewVariable.
func scenarioUnder(t *testing.T, name string) {
	if _, whole := wholeRun(t); whole {
		t.Skipf("%s is for all tests of this run", skewVariable)
	}
	s := start(t)
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
