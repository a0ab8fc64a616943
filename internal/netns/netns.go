// SPDX-License-Identifier: Apache-2.0

// Package netns finds the network namespace of a pod by the UID of the pod and
// runs functions in it. It reads /proc of the host, so the process must run in
// the host PID namespace.
//
// Processes are found by their cgroup: for every container runtime and both
// cgroup versions, the kubelet places all containers of a pod and the sandbox
// below a cgroup whose name contains the UID of the pod.
package netns

import (
	"errors"
	"net/netip"
)

// Errors of this package. Test them with errors.Is.
var (
	// ErrNotFound means that no process of the pod runs on the node.
	ErrNotFound = errors.New("no process of the pod on this node")
	// ErrHostNetwork means that the pod's processes use the host's network
	// namespace, which must not be changed.
	ErrHostNetwork = errors.New("the pod uses the host's network namespace")
	// ErrHiddenProcesses means that the process cannot see the processes of the
	// host, so an empty result is not reliable.
	ErrHiddenProcesses = errors.New("the host's processes are not visible")
	// ErrUnreadable means that processes of the pod exist but none of their
	// namespaces could be opened.
	ErrUnreadable = errors.New("the namespaces of the pod's processes cannot be opened")
	// ErrInvalidUID means that a string cannot be the UID of a pod.
	ErrInvalidUID = errors.New("invalid pod UID")
	// ErrUnsupported means that the operating system does not support network
	// namespaces.
	ErrUnsupported = errors.New("network namespaces require Linux")
)

// Address is an IP address of an interface.
type Address struct {
	// Interface is the name of the interface.
	Interface string
	// IP is the address, without a zone.
	IP netip.Addr
}

// Finder finds the network namespaces of pods.
type Finder struct {
	// Root is the mount point of the host's proc file system. Defaults to
	// /proc.
	Root string
}

// DefaultRoot is the usual mount point of the proc file system.
const DefaultRoot = "/proc"

func (f Finder) root() string {
	if f.Root == "" {
		return DefaultRoot
	}
	return f.Root
}
