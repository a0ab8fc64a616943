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
// An additional field can invert an authorization policy, for example another action, or
// limit an EnvoyFilter to no pod, for example another label of its selector.
// An additional listener of a Sidecar opens further destinations.
// An additional entry of a Telemetry can turn off what the spec requests.
// PeerAuthentications are evaluated with the fields of other clients instead.
func exclusiveSpec(o *unstructured.Unstructured) bool {
	switch kind := o.GetKind(); o.GroupVersionKind().Group {
	case "security.istio.io":
		return kind != "PeerAuthentication"
	case "networking.istio.io":
		return kind == "EnvoyFilter" || kind == "Sidecar" || kind == "ServiceEntry"
	case "telemetry.istio.io":
		return true
	default:
		return false
	}
}

// holdsSpec reports whether the spec of an exclusive object has no field that want does
// not have.
func holdsSpec(live, want *unstructured.Unstructured) bool {
	return !exclusiveSpec(want) || holds(want.Object["spec"], live.Object["spec"], true)
}

// removeSurplus removes the fields of other clients from the spec of an exclusive
// object, which server-side apply keeps. The same write sets the desired fields: a field
// of another client can exclude a desired one, and without both, a policy would apply to
// other pods in between.
func (a Applier) removeSurplus(ctx context.Context, live, want *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	spec := exclusivePatch(live, want)
	if spec == nil {
		return live, nil
	}
	u := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	u.SetGroupVersionKind(want.GroupVersionKind())
	u.SetUID(live.GetUID())
	u.SetResourceVersion(live.GetResourceVersion())
	body, err := u.MarshalJSON()
	if err != nil {
		return live, fmt.Errorf("encode patch of %s: %w", Describe(want), err)
	}
	patched := live.DeepCopy()
	if err := a.Client.Patch(ctx, patched, client.RawPatch(types.MergePatchType, body), client.FieldOwner(v1alpha1.FieldOwner)); err != nil {
		return live, fmt.Errorf("patch %s: %w", Describe(want), err)
	}
	logWrite(ctx, "Removed fields of object", want)
	return patched, nil
}

// exclusivePatch returns the JSON merge patch (RFC 7386) that gives an exclusive object
// exactly the desired spec, or nil if its spec has no other fields.
func exclusivePatch(live, want *unstructured.Unstructured) map[string]any {
	if !exclusiveSpec(want) {
		return nil
	}
	surplus := surplusPatch(specOf(live), specOf(want))
	if surplus == nil {
		return nil
	}
	return overlay(specOf(want.DeepCopy()), surplus)
}

// overlay adds the entries of a patch to a tree. Both are maps at the same keys.
func overlay(tree, patch map[string]any) map[string]any {
	for key, value := range patch {
		inner, nested := value.(map[string]any)
		if below, ok := tree[key].(map[string]any); nested && ok {
			value = overlay(below, inner)
		}
		tree[key] = value
	}
	return tree
}
