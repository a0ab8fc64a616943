// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors of a trace, distinguished with errors.Is.
var (
	// ErrBusy means that another trace runs in the namespace.
	ErrBusy = errors.New("another trace runs in this pod")
	// ErrUnsupported means that the kernel cannot trace rules.
	ErrUnsupported = errors.New("the kernel cannot trace rules")
)

// grace is how long after its end a trace may still need for removing its table.
const grace = 5 * time.Second

// commentPrefix and the deadline after it are in the comment of every rule of
// the own table, so that a table left behind can be reported from one in use.
const commentPrefix = "meshvm trace until "

// Comment is that of a rule of the own table.
func Comment(deadline time.Time, role Role) string {
	return commentPrefix + deadline.UTC().Format(time.RFC3339) + ", " + string(role)
}

// parseComment is the inverse of Comment.
func parseComment(comment string) (deadline time.Time, role Role, ok bool) {
	rest, found := strings.CutPrefix(comment, commentPrefix)
	at, name, separated := strings.Cut(rest, ", ")
	deadline, err := time.Parse(time.RFC3339, at)
	return deadline, Role(name), found && separated && err == nil
}

// mayRemove reports whether a table that already exists was left behind, by the
// comments of its rules. Otherwise the error reports whose it is.
func mayRemove(comments []string, now time.Time) error {
	var latest time.Time
	for _, c := range comments {
		deadline, _, ok := parseComment(c)
		if !ok {
			return fmt.Errorf("%w: table %s has a rule without a deadline; remove it with \"nft delete table inet %s\"", ErrBusy, TableName, TableName)
		}
		if deadline.After(latest) {
			latest = deadline
		}
	}
	if latest.After(now) {
		return fmt.Errorf("%w until %s at most", ErrBusy, latest.Format(time.RFC3339))
	}
	return nil
}
