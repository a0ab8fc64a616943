// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"fmt"
	"strconv"
)

// MemoryLimitVariable is the environment variable with the memory limit of the
// manager's container in bytes. The Deployment sets it from limits.memory
// (Kubernetes, downward API, resourceFieldRef).
const MemoryLimitVariable = "CONTAINER_MEMORY_LIMIT"

// heapPercent is the share of the container's memory limit that the Go runtime may
// use. The rest is for memory that the runtime does not count, such as the pages of
// the program file and of the kernel (package runtime/debug, SetMemoryLimit), and for
// allocations during a garbage collection.
const heapPercent = 90

// MemoryLimit returns the memory limit for the Go runtime in bytes, or 0 to keep
// the runtime's limit: if the container's limit is unknown, or if GOMEMLIMIT is set,
// which the runtime reads itself. Without a limit, the runtime collects garbage when
// the heap has doubled, and the kernel ends the container when the heap reaches the
// container's limit, although most of the heap is garbage.
func MemoryLimit(env func(string) string) (int64, error) {
	text := env(MemoryLimitVariable)
	if text == "" || env("GOMEMLIMIT") != "" {
		return 0, nil
	}
	limit, err := strconv.ParseInt(text, 10, 64)
	if err != nil || limit <= 0 {
		return 0, fmt.Errorf("environment variable %s is %q: set it to the memory limit of the container in bytes, or remove it", MemoryLimitVariable, text)
	}
	return limit / 100 * heapPercent, nil
}
