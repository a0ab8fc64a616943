// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	jsonpatch "github.com/evanphx/json-patch/v5"
	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/startgate"
)

var update = flag.Bool("update", false, "write the golden files")

var options = startgate.Options{Image: "example.invalid/rule-writer:test", PullPolicy: corev1.PullIfNotPresent}

// admit sends a pod to the handler as the API server does, and returns the pod
// as it would be stored.
func admit(t *testing.T, raw []byte) (admission.Response, []byte) {
	t.Helper()
	h := handler{options: options, decoder: admission.NewDecoder(clientgoscheme.Scheme)}
	r := h.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: raw}}})
	if len(r.Patches) == 0 {
		return r, raw
	}
	text, err := json.Marshal(r.Patches)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		t.Fatal(err)
	}
	out, err := patch.Apply(raw)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return r, out
}

// TestGolden compares the results for the pods in NAME.yaml with
// NAME.golden.yaml.
func TestGolden(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.in.yaml")
	if err != nil || len(inputs) == 0 {
		t.Fatalf("no pods: %v", err)
	}
	for _, path := range inputs {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			raw, err := yaml.YAMLToJSON(text)
			if err != nil {
				t.Fatal(err)
			}
			r, got := admit(t, raw)
			if !r.Allowed {
				t.Fatalf("refused: %v", r.Result)
			}
			out, err := yaml.JSONToYAML(got)
			if err != nil {
				t.Fatal(err)
			}
			golden := path[:len(path)-len(".in.yaml")] + ".out.yaml"
			if *update {
				if err := os.WriteFile(golden, out, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(out)); diff != "" {
				t.Errorf("%s (-want +got); -update rewrites it:\n%s", golden, diff)
			}
			if again, _ := admit(t, got); len(again.Patches) > 0 {
				t.Errorf("a second call changes the pod again: %v", again.Patches)
			}
		})
	}
}

func TestOtherPodsAreUnchanged(t *testing.T) {
	for name, change := range map[string]func(*corev1.Pod){
		"a pod without the label":                  func(p *corev1.Pod) { delete(p.Labels, v1alpha1.LabelStartGate) },
		"a pod with an unknown value of the label": func(p *corev1.Pod) { p.Labels[v1alpha1.LabelStartGate] = "Other" },
		"a pod that is not KubeVirt's":             func(p *corev1.Pod) { delete(p.Labels, kubevirtv1.AppLabel) },
		"a pod that only binds volumes": func(p *corev1.Pod) {
			p.Annotations = map[string]string{kubevirtv1.EphemeralProvisioningObject: "true"}
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := &corev1.Pod{}
			p.Labels = map[string]string{kubevirtv1.AppLabel: "virt-launcher", v1alpha1.LabelStartGate: v1alpha1.StartGateContainer}
			if startgate.Patch(p, options) == nil {
				t.Fatal("the pod without a change does not get a gate")
			}
			change(p)
			if got := startgate.Patch(p, options); got != nil {
				t.Errorf("changed: %v", got)
			}
		})
	}
}

func TestUnreadablePodIsRejected(t *testing.T) {
	r, _ := admit(t, []byte(`{"kind":"Pod","apiVersion":"v1","spec":{"containers":7}}`))
	if r.Allowed || r.Result.Code != http.StatusBadRequest {
		t.Errorf("got %+v, want a rejection", r)
	}
}
