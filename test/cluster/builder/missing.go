// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
)

// Missing explains why root file systems cannot be made or run here; nil if they can.
func Missing() error {
	if runtime.GOOS != "linux" {
		return errors.New("this needs Linux: namespaces, mounts and a Debian root file system are made")
	}
	if os.Geteuid() != 0 {
		return errors.New("this needs root: namespaces, mounts and a Debian root file system are made")
	}
	for _, program := range []string{"apt-get", "dpkg", "wget"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("this needs a Debian-like Linux: %w", err)
		}
	}
	return nil
}
