// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// Errors of a trace. Test them with errors.Is.
var (
	// ErrBusy means that another trace is running in the network namespace.
	ErrBusy = errors.New("another trace is running in this pod")
	// ErrUnsupported means that the kernel does not support rule tracing.
	ErrUnsupported = errors.New("the kernel does not support rule tracing")
)

// ownPriority places the trace's chains before all other chains except
// defragmentation (linux/netfilter_ipv4.h, NF_IP_PRI_RAW is -300).
const ownPriority = -350

// grace is the time after the end of a trace within which it removes its table.
const grace = 5 * time.Second

// commentPrefix and the deadline after it are in the comment of every rule of
// the trace's table. They distinguish a table of a killed trace from a table in
// use.
const commentPrefix = "meshvm trace until "

// Comment returns the comment of a rule in the trace's table.
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

// mayRemove reports whether an existing table was left by a killed trace, based
// on the comments of its rules. Otherwise it returns an error that describes
// the owner.
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
