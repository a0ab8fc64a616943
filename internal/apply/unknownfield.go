// SPDX-License-Identifier: Apache-2.0

package apply

import (
	"errors"
	"regexp"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// undeclared matches the API server's error for a field that the schema of a CRD does
// not have. Its code is 500, so the message is the only evidence (structured-merge-diff,
// typed/validate.go).
var undeclared = regexp.MustCompile(`\.?(\S+): field not declared in schema`)

// UnknownField returns the path of a field that the served version of an object's
// kind does not have. It is empty for any other error. A retry cannot succeed before
// the CRD changes.
func UnknownField(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		return ""
	}
	if m := undeclared.FindStringSubmatch(status.Status().Message); m != nil {
		return m[1]
	}
	return ""
}
