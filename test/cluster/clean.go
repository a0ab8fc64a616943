// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"fmt"
	"os"
	"path/filepath"

	"meshvm.io/meshvm/test/cluster/builder"
)

// Clean removes the cache with all products and the state of all clusters. It
// fails while a cluster is running.
func Clean() error {
	cache, err := builder.CacheDir()
	if err != nil {
		return err
	}
	states, err := filepath.Glob(filepath.Join(cache, "clusters", "*"))
	if err != nil {
		return err
	}
	for _, s := range states {
		if p, running := (&member{state: s}).running(); running {
			return fmt.Errorf("cluster %s is still running as process %d: stop it with local-cluster -name %[1]s down", filepath.Base(s), p.PID)
		}
	}
	return os.RemoveAll(cache)
}
