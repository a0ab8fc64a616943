// SPDX-License-Identifier: Apache-2.0

// Package conditions computes and writes status conditions. A reconcile states
// all conditions of its object in one Set, at its end; the Set is merged into
// the status so that transition times are kept, and one patch writes it.
package conditions

import (
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// maxMessage bounds a condition's message, in runes, far below the 32 KiB that
// metav1.Condition allows: messages stand in tables and events.
const maxMessage = 1024

// Condition is the statement of one condition.
type Condition struct {
	// Type is the condition's type.
	Type v1alpha1.ConditionType
	// Status is True, False or Unknown.
	Status metav1.ConditionStatus
	// Reason is the typed reason.
	Reason v1alpha1.ConditionReason
	// Message is for people.
	Message string
}

// True states that a condition holds.
func True(t v1alpha1.ConditionType, r v1alpha1.ConditionReason, message string) Condition {
	return Condition{t, metav1.ConditionTrue, r, message}
}

// False states that a condition does not hold.
func False(t v1alpha1.ConditionType, r v1alpha1.ConditionReason, message string) Condition {
	return Condition{t, metav1.ConditionFalse, r, message}
}

// Unknown states that it is not known whether a condition holds.
func Unknown(t v1alpha1.ConditionType, r v1alpha1.ConditionReason, message string) Condition {
	return Condition{t, metav1.ConditionUnknown, r, message}
}

// Merge brings existing to state exactly the conditions of want, at the given
// generation. A condition that keeps its status keeps its transition time; a
// condition that want does not state goes.
func Merge(existing []metav1.Condition, generation int64, want ...Condition) []metav1.Condition {
	out := slices.Clone(existing)
	out = slices.DeleteFunc(out, func(c metav1.Condition) bool {
		return !slices.ContainsFunc(want, func(w Condition) bool { return string(w.Type) == c.Type })
	})
	for _, w := range want {
		meta.SetStatusCondition(&out, metav1.Condition{
			Type:               string(w.Type),
			Status:             w.Status,
			Reason:             string(w.Reason),
			Message:            shorten(w.Message),
			ObservedGeneration: generation,
		})
	}
	return out
}

func shorten(s string) string {
	if r := []rune(s); len(r) > maxMessage {
		return string(r[:maxMessage-1]) + "…"
	}
	return s
}

// Outlook says what is to be expected while an object is not ready.
type Outlook int

const (
	// Moving says that the operator, or one it waits for, is at
	// work.
	Moving Outlook = iota
	// Stuck says that somebody has to change something first.
	Stuck
	// Resting says that it is not ready on purpose: nothing will happen by itself.
	Resting
)

// Summarize returns all with Ready added: True when all are True, and otherwise
// telling the first that is not. While not ready, Reconciling or Stalled is
// added as the outlook says, never both, so that kstatus (Flux, kpt) reads
// Current, InProgress or Failed as people would.
func Summarize(all []Condition, outlook Outlook) []Condition {
	out := slices.Clone(all)
	i := slices.IndexFunc(all, func(c Condition) bool { return c.Status != metav1.ConditionTrue })
	if i < 0 {
		return append(out, True(v1alpha1.ConditionReady, v1alpha1.ReasonReady, "everything that is declared was found in place"))
	}
	first := all[i]
	out = append(out, False(v1alpha1.ConditionReady, first.Reason, first.Message))
	switch outlook {
	case Moving:
		out = append(out, True(v1alpha1.ConditionReconciling, v1alpha1.ReasonProgressing, first.Message))
	case Stuck:
		out = append(out, True(v1alpha1.ConditionStalled, first.Reason, first.Message))
	case Resting:
	}
	return out
}

// Find returns the statement about a type, if there is one.
func Find(all []Condition, t v1alpha1.ConditionType) (Condition, bool) {
	i := slices.IndexFunc(all, func(c Condition) bool { return c.Type == t })
	if i < 0 {
		return Condition{}, false
	}
	return all[i], true
}

// IsTrue says whether the condition is True for this very generation.
func IsTrue(existing []metav1.Condition, t v1alpha1.ConditionType, generation int64) bool {
	c := meta.FindStatusCondition(existing, string(t))
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == generation
}
