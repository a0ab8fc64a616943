// SPDX-License-Identifier: Apache-2.0

package mustgather

import (
	"fmt"
	"time"
)

// Environment variables that `oc adm must-gather` sets for --since and
// --since-time (openshift/enhancements, enhancements/oc/must-gather.md).
const (
	EnvSince     = "MUST_GATHER_SINCE"
	EnvSinceTime = "MUST_GATHER_SINCE_TIME"
)

// Since returns the start time that the environment specifies. Zero means
// unlimited.
func Since(env func(string) string, now time.Time) (time.Time, error) {
	if text := env(EnvSinceTime); text != "" {
		t, err := time.Parse(time.RFC3339, text)
		if err != nil {
			return t, fmt.Errorf("%s: must be an RFC 3339 time: %w", EnvSinceTime, err)
		}
		return t, nil
	}
	if text := env(EnvSince); text != "" {
		d, err := time.ParseDuration(text)
		if err != nil {
			return time.Time{}, fmt.Errorf("%s: must be a duration such as 2h: %w", EnvSince, err)
		}
		return now.Add(-d), nil
	}
	return time.Time{}, nil
}
