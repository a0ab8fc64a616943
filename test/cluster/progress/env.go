// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// CacheEnv names the environment variable that moves the cache of products.
const CacheEnv = "MESHVM_CACHE"

// CacheDir is the directory of products and of the state of clusters:
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

// StartEnv names the environment variable by which the demo's first program
// passes its start time, in milliseconds since 1970, to the second.
const StartEnv = "MESHVM_DEMO_START"

// Started is the time in StartEnv, or now.
func Started() time.Time {
	if ms, err := strconv.ParseInt(os.Getenv(StartEnv), 10, 64); err == nil {
		return time.UnixMilli(ms)
	}
	return time.Now()
}
