// SPDX-License-Identifier: Apache-2.0

// Package webhook serves the admission webhook that adds the start gate to
// virt-launcher pods. The patch is computed by package startgate.
package webhook

import (
	"context"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/startgate"
)

// PodPath is the path to which the API server sends virt-launcher pods before
// it stores them.
const PodPath = "/mutate-virt-launcher-pod"

// Setup registers the handler with the manager's webhook server. Every manager
// serves it, including managers that are not the leader.
func Setup(ctx context.Context, mgr ctrl.Manager, o startgate.Options) {
	// The first pod does not wait until the cache is filled.
	if _, err := mgr.GetCache().GetInformer(ctx, &v1alpha1.MeshedVirtualMachine{}, cache.BlockUntilSynced(false)); err != nil {
		mgr.GetLogger().Error(err, "Cannot watch MeshedVirtualMachines yet")
	}
	mgr.GetWebhookServer().Register(PodPath, &admission.Webhook{
		Handler: handler{
			options: o, decoder: admission.NewDecoder(mgr.GetScheme()),
			cached: mgr.GetClient(), live: mgr.GetAPIReader(),
		},
	})
}

type handler struct {
	options startgate.Options
	decoder admission.Decoder
	// cached and live read MeshedVirtualMachines from the cache and from the API
	// server.
	cached, live client.Reader
}

// Handle returns the patch that adds the gate, or the patch that removes the
// labels of a MeshedVirtualMachine from a pod whose guest it does not control.
// A pod that cannot be read is rejected: without its gate the guest could send
// packets before its rules are programmed.
func (h handler) Handle(ctx context.Context, req admission.Request) admission.Response {
	var pod corev1.Pod
	if err := h.decoder.Decode(req, &pod); err != nil {
		return admission.Errored(http.StatusBadRequest, err)
	}
	if !startgate.Asks(&pod) {
		return admission.Allowed("no start gate requested")
	}
	switch h.ownerOf(ctx, req.Namespace, &pod) {
	case ownerOfOther:
		return admission.Patched("the MeshedVirtualMachine does not control the guest", startgate.Release(&pod)...)
	case ownerMissing:
		return admission.Patched("the MeshedVirtualMachine does not exist", startgate.Account(&pod)...)
	case ownerReleases:
		return admission.Patched("the MeshedVirtualMachine is being deleted and keeps the guest", startgate.Release(&pod)...)
	case ownerPresent:
	}
	return admission.Patched("the gate delays the guest", startgate.Patch(&pod, h.options)...)
}

// owner is the state of the MeshedVirtualMachine that a pod's label names.
type owner int

const (
	// ownerPresent gates the pod. It is also the state of an owner that cannot be
	// determined.
	ownerPresent owner = iota
	// ownerOfOther is the state of an owner of another guest, as of a clone.
	ownerOfOther
	// ownerMissing is the state after a deletion without the guest, or before a restore.
	// The pod keeps its labels, because a MeshedVirtualMachine that is created later
	// adopts the guest and finds the pod by them. It gets its service account, so that it
	// never runs with another identity.
	ownerMissing
	// ownerReleases is the state of an object that is being deleted and keeps its guest.
	// No rules are written for further pods, so the pod loses its labels: a Service that
	// others share must not select it.
	ownerReleases
)

// ownerOf returns the state of the pod's MeshedVirtualMachine. The cache can be older than
// the MeshedVirtualMachine, so a missing object is also read from the API server.
func (h handler) ownerOf(ctx context.Context, namespace string, pod *corev1.Pod) owner {
	name := pod.Labels[v1alpha1.LabelMeshedVirtualMachine]
	if name == "" || h.cached == nil {
		return ownerPresent
	}
	key := client.ObjectKey{Namespace: namespace, Name: name}
	var mvm v1alpha1.MeshedVirtualMachine
	if err := h.cached.Get(ctx, key, &mvm); !apierrors.IsNotFound(err) {
		if err != nil {
			return ownerPresent
		}
		return stateOf(&mvm, pod)
	}
	// The manager has the permission to list MeshedVirtualMachines but not to get
	// them.
	var list v1alpha1.MeshedVirtualMachineList
	err := h.live.List(ctx, &list, client.InNamespace(namespace), client.MatchingFields{"metadata.name": name})
	if err != nil {
		logf.FromContext(ctx).Error(err, "Cannot determine whether the MeshedVirtualMachine of a pod exists", "meshedVirtualMachine", name)
		return ownerPresent
	}
	if len(list.Items) == 0 {
		mvm.Name = name
		if launcherpod.IsStray(pod, mvm.VirtualMachineName()) {
			return ownerOfOther
		}
		return ownerMissing
	}
	return stateOf(&list.Items[0], pod)
}

// stateOf returns the state of a MeshedVirtualMachine for a pod with its label.
func stateOf(mvm *v1alpha1.MeshedVirtualMachine, pod *corev1.Pod) owner {
	switch {
	case launcherpod.IsStray(pod, mvm.VirtualMachineName()):
		return ownerOfOther
	case mvm.ReleasesVirtualMachine():
		return ownerReleases
	default:
		return ownerPresent
	}
}
