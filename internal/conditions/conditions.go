// SPDX-License-Identifier: Apache-2.0

// Package conditions computes and writes status conditions. At its end, a
// reconcile computes all conditions of its object. They are merged into the
// status so that transition times are preserved, and one patch writes the
// status.
package conditions

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/printable"
)

// maxMessage is the maximum length of a condition's message, in runes. It is far
// below the 32 KiB of metav1.Condition because tables and events show messages.
const maxMessage = 1024

// Condition is the desired value of one condition.
type Condition struct {
	// Type is the condition's type.
	Type v1alpha1.ConditionType
	// Status is True, False or Unknown.
	Status metav1.ConditionStatus
	// Reason is the typed reason.
	Reason v1alpha1.ConditionReason
	// Message is a human-readable message.
	Message string
	// ObservedGeneration is the generation for which the condition was computed, if it
	// is not the generation that Merge is called with.
	ObservedGeneration int64
}

// True returns a condition with status True.
func True(t v1alpha1.ConditionType, r v1alpha1.ConditionReason, message string) Condition {
	return Condition{Type: t, Status: metav1.ConditionTrue, Reason: r, Message: message}
}

// False returns a condition with status False.
func False(t v1alpha1.ConditionType, r v1alpha1.ConditionReason, message string) Condition {
	return Condition{Type: t, Status: metav1.ConditionFalse, Reason: r, Message: message}
}

// Unknown returns a condition with status Unknown.
func Unknown(t v1alpha1.ConditionType, r v1alpha1.ConditionReason, message string) Condition {
	return Condition{Type: t, Status: metav1.ConditionUnknown, Reason: r, Message: message}
}

// Unchanged returns the condition of a type as it is in existing, with the generation for
// which it was computed, and whether it is present. A reconcile that could not read the
// input of a condition keeps it with Unchanged.
func Unchanged(existing []metav1.Condition, t v1alpha1.ConditionType) (Condition, bool) {
	c := meta.FindStatusCondition(existing, string(t))
	if c == nil {
		return Condition{}, false
	}
	return Condition{Type: t, Status: c.Status, Reason: v1alpha1.ConditionReason(c.Reason), Message: c.Message, ObservedGeneration: c.ObservedGeneration}, true
}

// Merge returns exactly the conditions of want, at the given generation unless they have
// another one. A condition whose status is unchanged keeps its transition time.
// Conditions of existing that are not in want are removed.
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
			ObservedGeneration: cmp.Or(w.ObservedGeneration, generation),
		})
	}
	return out
}

// Enumerate returns the texts of the first items, and the number of the others, for a
// message.
func Enumerate[T any](items []T, limit int, separator string, text func(T) string) string {
	out := make([]string, 0, min(len(items), limit)+1)
	for _, item := range items[:min(len(items), limit)] {
		out = append(out, text(item))
	}
	if more := len(items) - limit; more > 0 {
		out = append(out, fmt.Sprintf("and %d more", more))
	}
	return strings.Join(out, separator)
}

// shorten limits the length of a message and replaces control characters and
// characters that change the direction of text. Messages quote other objects, which
// users write, and are shown in terminals.
func shorten(s string) string {
	if len(s) > maxMessage*utf8.UTFMax {
		s = s[:maxMessage*utf8.UTFMax+1]
	}
	return printable.Line(s, maxMessage)
}

// Progress classifies an object that is not ready, as kstatus does.
type Progress int

const (
	// InProgress means that the operator, or a component that it waits for, is
	// working towards the spec. (kstatus: InProgress.)
	InProgress Progress = iota
	// Stalled means that the operator cannot continue without intervention by a
	// user or an administrator. (kstatus: Failed.)
	Stalled
	// Idle means that the object is not ready on purpose and nothing is expected
	// to change. (kstatus: neither.)
	Idle
)

// Summarize returns the conditions with Ready added. Ready is True if all
// conditions are True. Otherwise it has the reason and message of the first
// condition that is not True, and either Reconciling or Stalled is added
// according to progress, so that kstatus (Flux, kpt) computes Current,
// InProgress or Failed.
func Summarize(all []Condition, progress Progress) []Condition {
	out := slices.Clone(all)
	i := slices.IndexFunc(all, func(c Condition) bool { return c.Status != metav1.ConditionTrue })
	if i < 0 {
		return append(out, True(v1alpha1.ConditionReady, v1alpha1.ReasonReady, "every condition that Ready summarizes is True"))
	}
	first := all[i]
	out = append(out, False(v1alpha1.ConditionReady, first.Reason, first.Message))
	switch progress {
	case InProgress:
		out = append(out, True(v1alpha1.ConditionReconciling, v1alpha1.ReasonProgressing, first.Message))
	case Stalled:
		out = append(out, True(v1alpha1.ConditionStalled, first.Reason, first.Message))
	case Idle:
	}
	return out
}

// Find returns the condition of a type, and whether it is present.
func Find(all []Condition, t v1alpha1.ConditionType) (Condition, bool) {
	i := slices.IndexFunc(all, func(c Condition) bool { return c.Type == t })
	if i < 0 {
		return Condition{}, false
	}
	return all[i], true
}

// IsTrue reports whether the condition is True for the generation.
func IsTrue(existing []metav1.Condition, t v1alpha1.ConditionType, generation int64) bool {
	c := meta.FindStatusCondition(existing, string(t))
	return c != nil && c.Status == metav1.ConditionTrue && c.ObservedGeneration == generation
}
