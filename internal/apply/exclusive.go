// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
)

// exclusiveSpec reports whether only the operator may set fields of the object's spec.
// An additional field can invert an authorization policy, for example another action.
// PeerAuthentications are evaluated with the fields of other clients instead.
func exclusiveSpec(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == "security.istio.io" && o.GetKind() != "PeerAuthentication"
}

// holdsSpec reports whether the spec of an exclusive object has no field that want does
// not have.
func holdsSpec(live, want *unstructured.Unstructured) bool {
	return !exclusiveSpec(want) || holds(want.Object["spec"], live.Object["spec"], true)
}

// removeSurplus removes the fields of other clients from the spec of an exclusive
// object, which server-side apply keeps.
func (a Applier) removeSurplus(ctx context.Context, got, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if !exclusiveSpec(want) {
		return got, nil
	}
	surplus := surplusPatch(specOf(got), specOf(want))
	if surplus == nil {
		return got, nil
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": surplus}}
	u.SetGroupVersionKind(want.GroupVersionKind())
	body, err := u.MarshalJSON()
	if err != nil {
		return got, fmt.Errorf("encode patch of %s: %w", Describe(want), err)
	}
	if err := a.Client.Patch(ctx, got, client.RawPatch(types.MergePatchType, body), client.FieldOwner(v1alpha1.FieldOwner)); err != nil {
		return got, fmt.Errorf("patch %s: %w", Describe(want), err)
	}
	logWrite(ctx, "Removed fields of object", want)
	return got, nil
}
