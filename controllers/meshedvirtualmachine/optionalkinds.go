// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"context"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// unavailable is an optional kind that the operator cannot read. It is the error of
// the objects of the kind that a spec requests.
type unavailable struct {
	dependency
	// unread is set if the cluster serves the kind, and the operator cannot list it.
	unread bool
}

func (u *unavailable) Error() string {
	if u.unread {
		return u.unreadMessage()
	}
	return fmt.Sprintf("the cluster does not serve %s in version %s, which is required by %s: install or upgrade Istio, or remove what requires it from the spec", u.crd, u.kind.Version, sources[u.kind])
}

func (u *unavailable) reason() v1alpha1.ConditionReason {
	if u.unread {
		return v1alpha1.ReasonForbidden
	}
	return u.reasonMissing()
}

// gatherOptional watches the optional kinds and determines which of them the operator
// cannot read. Reading such a kind would block the worker.
func (r *Reconciler) gatherOptional(ctx context.Context, s *scope) error {
	s.unavailable = map[schema.GroupKind]*unavailable{}
	var served []dependency
	for _, d := range optionalKinds {
		ok, soon, err := r.upstream.serves(ctx, d)
		s.retrySoon = s.retrySoon || soon
		if err != nil {
			return err
		}
		if !ok {
			s.unavailable[d.kind.GroupKind()] = &unavailable{dependency: d}
			continue
		}
		if _, err := r.upstream.watch(ctx, d); err != nil {
			return err
		}
		served = append(served, d)
	}
	for _, d := range served {
		unread, err := r.upstream.unread(ctx, d)
		if err != nil {
			return err
		}
		if unread != nil {
			s.unavailable[d.kind.GroupKind()] = &unavailable{dependency: d, unread: true}
		}
	}
	return nil
}

// prunable returns the prunable kinds that the operator can read. Only the lead of a Service
// deletes the objects of the Service.
func (s *scope) prunable() []schema.GroupVersionKind {
	return slices.DeleteFunc(children.Prunable(), func(k schema.GroupVersionKind) bool {
		return s.unavailable[k.GroupKind()] != nil || !s.leads() && children.IsOfService(k.GroupKind())
	})
}
