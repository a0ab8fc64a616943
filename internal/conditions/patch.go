// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"context"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
)

// PatchStatus writes the status of after with one patch. It writes nothing if
// before has the same status. A deleted object is not an error.
func PatchStatus(ctx context.Context, c client.Client, before, after client.Object) error {
	// The patch shows whether the status differs. equality.Semantic.DeepEqual
	// would panic on the unexported fields of Istio's types in a spec.
	patch, err := client.MergeFrom(before).Data(after)
	if err != nil {
		return fmt.Errorf("compare status: %w", err)
	}
	if string(patch) == "{}" {
		return nil
	}
	if err := c.Status().Patch(ctx, after, client.RawPatch(types.MergePatchType, patch)); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("patch status: %w", err)
	}
	return nil
}

// maxNote is the maximum length of an event's note in bytes (Kubernetes,
// events.k8s.io/v1, Event.note).
const maxNote = 1024

// abnormal contains the conditions for which True is an abnormal state.
var abnormal = map[string]bool{
	string(v1alpha1.ConditionStalled):                true,
	string(v1alpha1.ConditionConflicted):             true,
	string(v1alpha1.ConditionRestartRequired):        true,
	string(v1alpha1.ConditionVirtualMachineAdjusted): true,
	string(v1alpha1.ConditionStrayGuests):            true,
	string(v1alpha1.ConditionStartNotHeld):           true,
}

// abnormalFalse contains the conditions for which False is an abnormal state that a user
// must correct.
var abnormalFalse = map[string]bool{
	string(v1alpha1.ConditionAccepted): true,
	string(v1alpha1.ConditionPaused):   true,
}

// quiet contains the conditions whose transitions emit no event.
var quiet = map[string]bool{
	string(v1alpha1.ConditionReconciling): true,
}

// transition is a change of a condition that emits an event.
type transition struct {
	metav1.Condition
	// bad is set when the new state is abnormal.
	bad bool
}

// Record emits an event for each condition that changed its status or reason from
// before to after. Conditions with the same reason and message have one cause, for
// example Accepted and Stalled of a rejected spec, and emit one event. Call Record
// after the status has been written.
func Record(recorder events.EventRecorder, obj runtime.Object, before, after []metav1.Condition) {
	for _, c := range merged(transitions(before, after)) {
		kind := corev1.EventTypeNormal
		if c.bad {
			kind = corev1.EventTypeWarning
		}
		note := fmt.Sprintf("%s is %s: %s", c.Type, c.Status, c.Message)
		recorder.Eventf(obj, nil, kind, c.Reason, c.Type, "%s", strings.ToValidUTF8(note[:min(len(note), maxNote)], ""))
	}
}

// transitions lists the changes that emit events. The first value of a condition
// emits an event only when it is abnormal.
func transitions(before, after []metav1.Condition) []transition {
	var out []transition
	for _, c := range after {
		old := meta.FindStatusCondition(before, c.Type)
		// The condition that prevents Ready emits its own event.
		waiting := c.Type == string(v1alpha1.ConditionReady) && c.Status != metav1.ConditionTrue
		if quiet[c.Type] || waiting || (old != nil && old.Status == c.Status && old.Reason == c.Reason) {
			continue
		}
		bad := abnormal[c.Type] || abnormalFalse[c.Type] && c.Status == metav1.ConditionFalse
		if old != nil || bad {
			out = append(out, transition{c, bad})
		}
	}
	return out
}

// merged combines transitions with the same reason and message. The result is
// abnormal if one of them is, and has the type of the first abnormal condition other
// than Stalled, or else of the first condition.
func merged(all []transition) []transition {
	rank := func(t transition) int {
		switch {
		case t.Type == string(v1alpha1.ConditionStalled):
			return 2
		case t.bad:
			return 0
		default:
			return 1
		}
	}
	slices.SortStableFunc(all, func(a, b transition) int { return rank(a) - rank(b) })
	var out []transition
	for _, c := range all {
		i := slices.IndexFunc(out, func(o transition) bool { return o.Reason == c.Reason && o.Message == c.Message })
		if i < 0 {
			out = append(out, c)
			continue
		}
		out[i].bad = out[i].bad || c.bad
	}
	return out
}
