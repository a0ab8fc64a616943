// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"errors"
	"regexp"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
)

// failureReason returns the reason for an object that could not be applied.
func failureReason(err error) v1alpha1.ConditionReason {
	_, refused := patchRefused(err)
	switch u := (*unavailable)(nil); {
	case refused:
		return v1alpha1.ReasonPatchRefused
	case errors.As(err, &u):
		return u.reason()
	case errors.Is(err, apply.ErrConflict):
		return v1alpha1.ReasonConflict
	case errors.Is(err, apply.ErrDiffers):
		return v1alpha1.ReasonOutOfDate
	case apply.UnknownField(err) != "":
		return v1alpha1.ReasonFieldUnsupported
	case rejected(err):
		return v1alpha1.ReasonInvalidSpec
	case quotaExceeded(err):
		return v1alpha1.ReasonQuotaExceeded
	case apierrors.IsForbidden(err):
		return v1alpha1.ReasonForbidden
	default:
		return v1alpha1.ReasonApplyFailed
	}
}

// failuresStall reports whether an object that could not be applied needs a change by a
// user.
func (s *scope) failuresStall() bool {
	for _, err := range s.failures {
		if _, refused := patchRefused(err); refused {
			return true
		}
		if u := (*unavailable)(nil); errors.As(err, &u) || errors.Is(err, apply.ErrConflict) || rejected(err) || apply.UnknownField(err) != "" {
			return true
		}
	}
	return false
}

// denied matches the messages about an object that an admission webhook or a
// ValidatingAdmissionPolicy rejected (Kubernetes, k8s.io/apiserver/pkg/admission,
// plugin/webhook/errors/statuserror.go and plugin/policy/validating/dispatcher.go).
var denied = regexp.MustCompile(`admission webhook ".*" denied the request|ValidatingAdmissionPolicy '.*' .*denied request`)

// rejected reports whether the API server, a webhook or a policy rejected the object
// itself, so that the user must change the spec. A missing permission and an exhausted
// quota are Forbidden as well, and do not depend on the object's content.
func rejected(err error) bool {
	return apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) || apierrors.IsForbidden(err) && denied.MatchString(err.Error())
}

// quotaExceeded reports whether a ResourceQuota does not permit the object. The message
// is the only evidence (Kubernetes, k8s.io/apiserver/pkg/admission/plugin/resourcequota,
// controller.go).
func quotaExceeded(err error) bool {
	return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "exceeded quota: ")
}

// sources are the fields of the spec that determine the objects of a kind.
var sources = map[schema.GroupVersionKind]string{
	children.ServiceKind:               "spec.service and spec.ports",
	children.VirtualServiceKind:        "spec.mesh.routes, and timeout and retries of spec.ports",
	children.DestinationRuleKind:       "spec.mesh.trafficPolicy",
	children.PeerAuthenticationKind:    "spec.mesh.mtls and mtls of spec.ports",
	children.VirtualMachineKind:        "spec.virtualMachine",
	children.AuthorizationPolicyKind:   "spec.mesh.allow, spec.mesh.authorization and spec.mesh.authentication",
	children.EnvoyFilterKind:           "maxConnections and rateLimit of spec.ports",
	children.RequestAuthenticationKind: "spec.mesh.authentication",
	children.SidecarKind:               "spec.mesh.egress",
	children.ServiceEntryKind:          "spec.mesh.egress.services",
	children.TelemetryKind:             "spec.mesh.telemetry",
}

// fieldsOf names the fields of the spec that a user must change, because the message of the
// API server or a webhook names fields of the child.
func fieldsOf(k children.Kind, err error) string {
	if source := sources[k.GroupVersionKind]; source != "" && rejected(err) {
		return "; the operator derives this object from " + source + ": correct these fields"
	}
	return ""
}
