// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"fmt"
	"math/rand/v2"
	"net"
)

// Ports of FreePort. The kernel gives clients ports from 32768 (ip-sysctl of the kernel's
// documentation, ip_local_port_range), so no client takes a port before its server starts.
const (
	firstPort = 20000
	ports     = 12000
)

// FreePort returns a random port of the loopback interface on which no server listens, for
// a program that cannot report the port that the kernel selects.
func FreePort() (int, error) {
	var err error
	for range 100 {
		port := firstPort + rand.IntN(ports) //nolint:gosec // Packages that are tested at the same time must not select the same port.
		var l net.Listener
		if l, err = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			return port, l.Close()
		}
	}
	return 0, fmt.Errorf("find a free port: %w", err)
}
