// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Invalid is the rejection of one field. A retry cannot succeed: a user has to
// change the spec.
type Invalid struct { //nolint:errname // Callers read the fields first; InvalidError would repeat the package in validate.FirstInvalid.
	// Reason is the reason of the condition Accepted=False.
	Reason v1alpha1.ConditionReason
	// Field is the path of the rejected field, for example
	// "spec.ports[1].targetPort".
	Field string
	// Message describes the problem and its solution. It is part of a condition,
	// so it contains no volatile parts.
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

// Invalidf returns the rejection of a field. The message is formatted as by
// fmt.Sprintf. A nil path stands for the whole object.
func Invalidf(reason v1alpha1.ConditionReason, path *field.Path, format string, args ...any) *Invalid {
	i := &Invalid{Reason: reason, Message: fmt.Sprintf(format, args...)}
	if path != nil {
		i.Field = path.String()
	}
	return i
}

// FirstInvalid returns the first rejection in err, which may join several errors.
func FirstInvalid(err error) (*Invalid, bool) {
	var i *Invalid
	if errors.As(err, &i) && i != nil {
		return i, true
	}
	return nil, false
}

// Errors collects rejections and other errors. The zero value is empty.
type Errors struct{ errs []error }

// Add adds err if it is not nil.
func (e *Errors) Add(err error) {
	if err != nil {
		e.errs = append(e.errs, err)
	}
}

// Reject adds the rejection of a field, as by Invalidf.
func (e *Errors) Reject(reason v1alpha1.ConditionReason, path *field.Path, format string, args ...any) {
	e.errs = append(e.errs, Invalidf(reason, path, format, args...))
}

// Join returns an error that joins all collected errors, nil for none.
func (e *Errors) Join() error { return errors.Join(e.errs...) }
