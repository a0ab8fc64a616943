// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
)

func TestSpecHandler(t *testing.T) {
	scheme := runtime.NewScheme()
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	h := specHandler{decoder: admission.NewDecoder(scheme), cluster: func(context.Context) validate.Cluster { return validate.Cluster{} }}
	valid := builders.MVM("web").Ports(builders.HTTP("http", 80, 8080)).Obj()
	edited := func(change func(*v1alpha1.MeshedVirtualMachine)) *v1alpha1.MeshedVirtualMachine {
		o := valid.DeepCopy()
		change(o)
		return o
	}
	invalid := edited(func(o *v1alpha1.MeshedVirtualMachine) { o.Spec.Ports[0].TargetPort = 15001 })
	immediate := edited(func(o *v1alpha1.MeshedVirtualMachine) { o.Spec.Start = v1alpha1.StartPolicyImmediate })
	portless := edited(func(o *v1alpha1.MeshedVirtualMachine) { o.Spec.Ports = nil })
	paused := edited(func(o *v1alpha1.MeshedVirtualMachine) {
		o.Annotations = map[string]string{v1alpha1.AnnotationPaused: "yes"}
	})
	// The webhook does not read the existing VirtualMachine, so it checks only the other fields.
	adopting := edited(func(o *v1alpha1.MeshedVirtualMachine) {
		o.Spec.VirtualMachine = kubevirtv1.VirtualMachineSpec{}
		o.Spec.ExistingVirtualMachine.Name = "db"
	})
	invalidAdopting := adopting.DeepCopy()
	invalidAdopting.Spec.Ports[0].TargetPort = 15001
	templateless := edited(func(o *v1alpha1.MeshedVirtualMachine) { o.Spec.VirtualMachine.Template = nil })
	relabeled := invalid.DeepCopy()
	relabeled.Labels = map[string]string{"a": "b"}
	deleted := invalid.DeepCopy()
	deleted.DeletionTimestamp, deleted.Spec.Version = &metav1.Time{Time: builders.Epoch.Time}, "v2"
	for name, tc := range map[string]struct {
		old, object *v1alpha1.MeshedVirtualMachine
		message     string
		warning     string
	}{
		"create":                  {nil, valid, "", ""},
		"create an invalid spec":  {nil, invalid, "spec.ports[0].targetPort: port 15001 is reserved for the mesh proxy: use another port in the guest", ""},
		"make a spec invalid":     {valid, invalid, "spec.ports[0].targetPort: port 15001", ""},
		"correct a spec":          {invalid, valid, "", ""},
		"label an invalid object": {invalid, relabeled, "", ""},
		"adopt":                   {nil, adopting, "", ""},
		"edit an adopting object": {invalidAdopting, adopting, "", ""},
		"adopt with a bad port":   {nil, invalidAdopting, "spec.ports[0].targetPort: port 15001", ""},
		"no template":             {nil, templateless, "spec.virtualMachine.template: is required", ""},
		"edit a deleted object":   {invalid, deleted, "", ""},
		"immediate start":         {nil, immediate, "", "spec.start: with Immediate, the first packets"},
		"no ports":                {nil, portless, "", "spec.ports: the guest has no ports"},
		"ignored pause":           {nil, paused, "", "reconciliation is not suspended"},
	} {
		t.Run(name, func(t *testing.T) {
			req := admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Operation: admissionv1.Create, Object: raw(t, tc.object)}}
			if tc.old != nil {
				req.Operation, req.OldObject = admissionv1.Update, raw(t, tc.old)
			}
			r := h.Handle(t.Context(), req)
			if got := r.Result; r.Allowed != (tc.message == "") || !r.Allowed && !strings.HasPrefix(got.Message, tc.message) {
				t.Errorf("allowed %t: %+v", r.Allowed, got)
			}
			if got := strings.Join(r.Warnings, "\n"); tc.warning == "" && got != "" || !strings.HasPrefix(got, tc.warning) {
				t.Errorf("warnings %q, want %q", got, tc.warning)
			}
		})
	}
	if r := h.Handle(t.Context(), admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{Object: runtime.RawExtension{Raw: []byte("{")}}}); !r.Allowed {
		t.Error("an object that cannot be decoded was rejected")
	}
}

func raw(t *testing.T, o any) runtime.RawExtension {
	t.Helper()
	text, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	return runtime.RawExtension{Raw: text}
}
