// SPDX-License-Identifier: Apache-2.0

// Package validatetest contains helpers for tests that expect rejections.
package validatetest

import (
	"fmt"

	"meshvm.io/meshvm/internal/validate"
)

// Rejections returns the errors that err joins, nil for none. A rejection is
// written as "Reason field". Other errors, and rejections without a message, are
// written in a form that no test expects.
func Rejections(err error) []string {
	if err == nil {
		return nil
	}
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok { // Only the outermost error joins rejections.
		errs = joined.Unwrap()
	}
	var out []string
	for _, e := range errs {
		if invalid, ok := validate.FirstInvalid(e); ok && invalid.Message != "" {
			out = append(out, fmt.Sprintf("%s %s", invalid.Reason, invalid.Field))
		} else {
			out = append(out, fmt.Sprintf("not a rejection with a message: %#v", e))
		}
	}
	return out
}
