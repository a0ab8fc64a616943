// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"os/exec"
	"syscall"
)

// endWithParent has the program killed when the test is, so that nothing is
// left running.
func endWithParent(command *exec.Cmd) {
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
