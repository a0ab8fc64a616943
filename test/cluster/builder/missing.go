// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Missing returns the reason why this machine cannot build or run root file
// systems, or nil.
func Missing() error {
	if runtime.GOOS != "linux" {
		return errors.New("namespaces, mounts and a Debian root file system require Linux")
	}
	if os.Geteuid() != 0 {
		return errors.New("namespaces, mounts and a Debian root file system require root")
	}
	for _, program := range []string{"apt-get", "dpkg", "wget"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("requires Debian or a derivative: %w", err)
		}
	}
	return nil
}
