// SPDX-License-Identifier: Apache-2.0

// Package webhook serves the admission webhook that adds the start gate to
// virt-launcher pods. The patch is computed by package startgate.
package webhook

import (
	"context"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"meshvm.io/meshvm/internal/startgate"
)

// PodPath is where the API server sends virt-launcher pods before it stores them.
const PodPath = "/mutate-virt-launcher-pod"

// Setup registers the handler with the manager's webhook server. Every instance
// of the manager answers, whether it leads or not.
func Setup(mgr ctrl.Manager, o startgate.Options) {
	mgr.GetWebhookServer().Register(PodPath, &admission.Webhook{
		Handler: handler{options: o, decoder: admission.NewDecoder(mgr.GetScheme())},
	})
}

type handler struct {
	options startgate.Options
	decoder admission.Decoder
}

// Handle answers with the patch that adds the gate. A pod that cannot be read is
// rejected: without its gate the guest could send packets before its rules are programmed.
func (h handler) Handle(_ context.Context, req admission.Request) admission.Response {
	var pod corev1.Pod
	if err := h.decoder.Decode(req, &pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	patch := startgate.Patch(&pod, h.options)
	if patch == nil {
		return admission.Allowed("no gate asked for")
	}
	return admission.Patched("the gate delays the guest", patch...)
}
