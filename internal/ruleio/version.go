// SPDX-License-Identifier: Apache-2.0

package ruleio

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Formats of this release. A program reads its current format and the previous
// format (N and N-1), so that manager and rule-writer can differ by one release
// in either direction during an upgrade. After the first release, every new
// field requires a new format. A request is written in the lowest format that
// has all its fields (docs/upgrade.md).
const (
	requestFormat = 1
	resultFormat  = 1

	requestPrefix = "meshvm.io/rule-request/v"
	resultPrefix  = "meshvm.io/rule-result/v"
)

// ErrVersion indicates a request or a result in a format that this program does
// not read.
var ErrVersion = errors.New("the format is not known")

// checkVersion reports whether a program with the current format own can read
// text.
func checkVersion(text, prefix string, own int) error {
	digits, ours := strings.CutPrefix(text, prefix)
	n, err := strconv.Atoi(digits)
	oldest := max(own-1, 1)
	switch {
	case !ours || err != nil || n < 1 || strconv.Itoa(n) != digits:
		return fmt.Errorf("%w: version %q, want %s%d", ErrVersion, text, prefix, own)
	case n > own:
		return fmt.Errorf("%w: version %q is newer than %s%d: manager and rule-writer are more than one release apart; use images of the same release", ErrVersion, text, prefix, own)
	case n < oldest:
		return fmt.Errorf("%w: version %q is older than %s%d: manager and rule-writer are more than one release apart; use images of the same release", ErrVersion, text, prefix, oldest)
	}
	return nil
}

// versionOf decodes only the version, so that other fields of a newer format do
// not matter.
func versionOf(b []byte) (string, error) {
	var v struct {
		Version string `json:"version"`
	}
	err := json.Unmarshal(b, &v)
	return v.Version, err
}
