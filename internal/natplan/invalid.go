// SPDX-License-Identifier: Apache-2.0

package natplan

import (
	"errors"
	"fmt"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Invalid is a refusal that no retry can lift: a user has to change what was
// declared.
type Invalid struct { //nolint:errname // It is a verdict on a spec first; InvalidError would stutter in natplan.FirstInvalid.
	// Reason is the reason for the condition Accepted=False.
	Reason v1alpha1.ConditionReason
	// Field is the path of the field at fault, for example
	// "spec.ports[1].targetPort".
	Field string
	// Message describes what is wrong and what to do instead. It has no volatile
	// parts, so that it can stand in a condition.
	Message string
}

// Error returns the field and the message.
func (i *Invalid) Error() string {
	if i == nil {
		return "invalid"
	}
	if i.Field == "" {
		return i.Message
	}
	return i.Field + ": " + i.Message
}

// FirstInvalid returns the first refusal in err, which may join several.
func FirstInvalid(err error) (*Invalid, bool) {
	var i *Invalid
	if errors.As(err, &i) && i != nil {
		return i, true
	}
	return nil, false
}

func invalidf(reason v1alpha1.ConditionReason, field, format string, args ...any) *Invalid {
	return &Invalid{Reason: reason, Field: field, Message: fmt.Sprintf(format, args...)}
}
