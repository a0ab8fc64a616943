// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// CacheEnv is the environment variable that overrides the cache directory.
const CacheEnv = "MESHVM_CACHE"

// CacheDir returns the directory for build products and the state of clusters:
// $MESHVM_CACHE, or else the folder meshvm in the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv(CacheEnv); dir != "" {
		return filepath.Abs(dir)
	}
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no cache directory: %w (set %s)", err, CacheEnv)
	}
	return filepath.Join(dir, "meshvm"), nil
}

// StartEnv is the environment variable by which the demo's first program passes
// its start time, in milliseconds since 1970, to the second.
const StartEnv = "MESHVM_DEMO_START"

// Started returns the time in StartEnv. It defaults to the current time.
func Started() time.Time {
	if ms, err := strconv.ParseInt(os.Getenv(StartEnv), 10, 64); err == nil {
		return time.UnixMilli(ms)
	}
	return time.Now()
}
