// SPDX-License-Identifier: Apache-2.0

package ruleio

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Formats of this release. A program reads its own format and the one before it
// (N and N-1), so that manager and rule-writer may be one release apart, either
// way, while one of them is replaced. From the first release on, every new field
// is a new format, and a request is written in the lowest format that can report
// what it has to (docs/upgrade.md).
const (
	requestFormat = 1
	resultFormat  = 1

	requestPrefix = "meshvm.io/rule-request/v"
	resultPrefix  = "meshvm.io/rule-result/v"
)

// ErrVersion marks a request or a result whose format is not among those that
// this program reads.
var ErrVersion = errors.New("the format is not known")

// checkVersion reports whether a program whose own format is own reads text.
func checkVersion(text, prefix string, own int) error {
	digits, ours := strings.CutPrefix(text, prefix)
	n, err := strconv.Atoi(digits)
	oldest := max(own-1, 1)
	switch {
	case !ours || err != nil || n < 1 || strconv.Itoa(n) != digits:
		return fmt.Errorf("%w: version %q, want %s%d", ErrVersion, text, prefix, own)
	case n > own:
		return fmt.Errorf("%w: version %q is newer than %s%d: manager and rule-writer are more than one release apart, give them images of one release", ErrVersion, text, prefix, own)
	case n < oldest:
		return fmt.Errorf("%w: version %q is older than %s%d: manager and rule-writer are more than one release apart, give them images of one release", ErrVersion, text, prefix, oldest)
	}
	return nil
}

// versionOf reads nothing but the version, so that what else is in a newer
// format does not matter.
func versionOf(b []byte) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	err := json.Unmarshal(b, &v)
	return v.Version, err
}
