// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
)

// TestFailures checks the reason, the progress and the retry of each kind of error with
// which an object is not applied. The messages are those of Kubernetes 1.36.
func TestFailures(t *testing.T) {
	forbidden := func(message string) error {
		return fmt.Errorf("apply Service shop/web: %w", apierrors.NewForbidden(schema.GroupResource{Resource: "services"}, "web", errors.New(message)))
	}
	webhook := func(code int32, reason metav1.StatusReason) error {
		return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: `admission webhook "validation.example.com" denied the request: no`}}
	}
	const (
		watched = iota
		later   // after rejectedRetry
		backoff
	)
	for name, tc := range map[string]struct {
		err     error
		reason  v1alpha1.ConditionReason
		stalled bool
		retry   int
	}{
		"another owner":                {fmt.Errorf("x %w", apply.ErrConflict), v1alpha1.ReasonConflict, true, watched},
		"being deleted":                {fmt.Errorf("x %w", apply.ErrTerminating), v1alpha1.ReasonApplyFailed, false, watched},
		"invalid":                      {apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "web", nil), v1alpha1.ReasonInvalidSpec, true, later},
		"webhook, bad request":         {webhook(400, metav1.StatusReasonBadRequest), v1alpha1.ReasonInvalidSpec, true, later},
		"webhook, forbidden":           {webhook(403, metav1.StatusReasonForbidden), v1alpha1.ReasonInvalidSpec, true, later},
		"policy, forbidden":            {forbidden(`ValidatingAdmissionPolicy 'p' with binding 'b' denied request: no`), v1alpha1.ReasonInvalidSpec, true, later},
		"quota":                        {forbidden("exceeded quota: q, requested: services=1, used: services=1, limited: services=1"), v1alpha1.ReasonQuotaExceeded, false, backoff},
		"permission":                   {forbidden(`User "system:serviceaccount:meshvm-system:meshvm-controller-manager" cannot patch resource "services" in API group "" in the namespace "shop"`), v1alpha1.ReasonForbidden, false, backoff},
		"namespace that is terminated": {forbidden("unable to create new content in namespace shop because it is being terminated"), v1alpha1.ReasonForbidden, false, backoff},
		"timeout":                      {errors.New("timeout"), v1alpha1.ReasonApplyFailed, false, backoff},
	} {
		t.Run(name, func(t *testing.T) {
			if got := failureReason(tc.err); got != tc.reason {
				t.Errorf("the reason is %s, want %s", got, tc.reason)
			}
			s := &scope{failures: map[apply.Key]error{{Name: "web"}: tc.err}}
			if got := s.failuresStall(); got != tc.stalled {
				t.Errorf("stalled is %t, want %t", got, tc.stalled)
			}
			result, err := resultFor(s, nil)
			if (result.RequeueAfter > 0) != (tc.retry == later) || (err != nil) != (tc.retry == backoff) {
				t.Errorf("the result is %+v, %v", result, err)
			}
		})
	}
}
