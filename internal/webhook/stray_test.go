// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
)

// TestStrays sends the pods of a guest and of its copies to the handler.
func TestStrays(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	owner := builders.MVM("web").Obj()
	released := builders.MVM("web").Obj()
	released.DeletionTimestamp, released.Finalizers = new(metav1.Now()), []string{v1alpha1.FinalizerOrphan}
	deleted := builders.MVM("web").Obj()
	deleted.DeletionTimestamp, deleted.Finalizers = new(metav1.Now()), []string{"example.com/hold"}
	with := func(objects ...client.Object) client.WithWatch {
		return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
			WithIndex(&v1alpha1.MeshedVirtualMachine{}, "metadata.name", func(o client.Object) []string { return []string{o.GetName()} }).Build()
	}
	fails := interceptor.NewClient(with(), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("down")
		},
	})
	for name, tc := range map[string]struct {
		guest        string
		cached, live client.Reader
		// account is set if the pod gets the service account that it requests.
		gate, stray, account bool
	}{
		"the guest":                           {"web", with(owner), fails, true, false, true},
		"an outdated cache":                   {"web", with(), with(owner), true, false, true},
		"an API server that does not respond": {"web", with(), fails, true, false, true},
		"no MeshedVirtualMachine":             {"web", with(), with(), false, false, true},
		"deleted with its guest":              {"web", with(deleted), fails, true, false, true},
		"deleted without its guest":           {"web", with(released), fails, false, true, false},
		"a clone":                             {"web-clone", with(owner), fails, false, true, false},
		"a clone and an outdated cache":       {"web-clone", with(), with(owner), false, true, false},
		"a clone without the original":        {"web-clone", with(), with(), false, true, false},
		// It can be the guest of a MeshedVirtualMachine with another name.
		"a pod of an unknown owner": {"web-clone", with(), fails, true, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := builders.LauncherPod(builders.VMI(tc.guest).Obj(), "abcde").Obj()
			pod.Labels[v1alpha1.LabelMeshedVirtualMachine] = "web"
			pod.Labels[v1alpha1.LabelStartGate] = v1alpha1.StartGateContainer
			pod.Annotations = map[string]string{v1alpha1.AnnotationServiceAccount: "db"}
			raw, err := json.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			h := handler{options: options, decoder: admission.NewDecoder(clientgoscheme.Scheme), cached: tc.cached, live: tc.live}
			r := h.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
				Namespace: owner.Namespace, Object: runtime.RawExtension{Raw: raw},
			}})
			out, err := json.Marshal(r.Patches)
			if err != nil || !r.Allowed {
				t.Fatalf("%v, %+v", err, r.Result)
			}
			if got := strings.Contains(string(out), "meshvm-gate"); got != tc.gate {
				t.Errorf("gate is %t, want %t: %s", got, tc.gate, out)
			}
			if got := strings.Contains(string(out), `"remove","path":"/metadata/labels/meshvm.io~1meshed-virtual-machine"`); got != tc.stray {
				t.Errorf("the label is removed: %t, want %t: %s", got, tc.stray, out)
			}
			if got := strings.Contains(string(out), `"path":"/spec/serviceAccountName","value":"db"`); got != tc.account {
				t.Errorf("the service account is set: %t, want %t: %s", got, tc.account, out)
			}
		})
	}
}
