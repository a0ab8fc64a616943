// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/validate"
)

// SpecPath is the path to which the API server sends MeshedVirtualMachines before it
// stores them.
const SpecPath = "/validate-meshedvirtualmachine"

// SetupSpec registers the handler that rejects specs with the manager's webhook server.
// The function returns the facts about the cluster that the reconciler also uses.
func SetupSpec(mgr ctrl.Manager, cluster func(context.Context) validate.Cluster) {
	mgr.GetWebhookServer().Register(SpecPath, &admission.Webhook{
		Handler: specHandler{decoder: admission.NewDecoder(mgr.GetScheme()), cluster: cluster},
	})
}

type specHandler struct {
	decoder admission.Decoder
	cluster func(context.Context) validate.Cluster
}

// Handle rejects a spec that the reconciler would not accept, with the same message. It
// repeats the match condition of the webhook configuration, which OLM does not support:
// an object whose spec does not change is admitted, so that an object that was stored
// before a rule existed stays editable and can be deleted.
func (h specHandler) Handle(ctx context.Context, req admission.Request) admission.Response {
	var mvm v1alpha1.MeshedVirtualMachine
	if err := h.decoder.Decode(req, &mvm); err != nil {
		// The schema of the CRD rejects what can be rejected, and the reconciler reports the rest.
		logf.FromContext(ctx).Info("Cannot decode a MeshedVirtualMachine", "error", err.Error())
		return admission.Allowed("not decoded")
	}
	if !mvm.DeletionTimestamp.IsZero() || sameSpec(req) {
		return admission.Allowed("the spec does not change")
	}
	if invalid, ok := validate.FirstInvalid(validate.SpecIn(h.cluster(ctx), &mvm)); ok {
		return rejected(&mvm, invalid)
	}
	return admission.Allowed("").WithWarnings(validate.Warnings(&mvm)...)
}

// sameSpec reports whether an update does not change the spec.
func sameSpec(req admission.Request) bool {
	if req.Operation != admissionv1.Update {
		return false
	}
	spec := func(raw []byte) (any, error) {
		var o struct {
			Spec any `json:"spec"`
		}
		err := json.Unmarshal(raw, &o)
		return o.Spec, err
	}
	before, err := spec(req.OldObject.Raw)
	after, otherErr := spec(req.Object.Raw)
	return err == nil && otherErr == nil && equality.Semantic.DeepEqual(before, after)
}

// rejected returns the response that a client shows like an error of the schema.
func rejected(mvm *v1alpha1.MeshedVirtualMachine, invalid *validate.Invalid) admission.Response {
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{Result: &metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid, Message: invalid.Error(),
		Details: &metav1.StatusDetails{
			Group: v1alpha1.GroupVersion.Group, Kind: "MeshedVirtualMachine", Name: mvm.Name,
			// kubectl shows only the causes.
			Causes: []metav1.StatusCause{{Type: metav1.CauseTypeFieldValueInvalid, Field: cmp.Or(invalid.Field, "spec"), Message: invalid.Message}},
		},
	}}}
}
