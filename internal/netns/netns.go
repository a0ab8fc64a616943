// SPDX-License-Identifier: Apache-2.0

// Package netns finds the network namespace of a pod by the pod's UID and runs
// functions inside it. It reads /proc of the host, so its process has to share
// the host's PID namespace.
//
// Finding is by cgroup: the kubelet puts all containers of a pod, and the
// sandbox, below one cgroup named by the pod's UID, for every runtime and both
// cgroup versions.
package netns

import (
	"errors"
	"net/netip"
)

// Errors of this package, distinguished with errors.Is.
var (
	// ErrNotFound means that no process of the pod runs on the node.
	ErrNotFound = errors.New("no process of the pod on this node")
	// ErrHostNetwork means that the pod's processes are in the host's own
	// network namespace, which must not be touched.
	ErrHostNetwork = errors.New("the pod uses the host's network namespace")
	// ErrHiddenProcesses means that the caller cannot see the processes of
	// the host, so that finding none proves nothing.
	ErrHiddenProcesses = errors.New("the host's processes are not visible")
	// ErrUnreadable means that processes of the pod were found, but none of
	// their namespaces could be opened.
	ErrUnreadable = errors.New("the namespaces of the pod's processes cannot be opened")
	// ErrInvalidUID means that a pod UID cannot be one.
	ErrInvalidUID = errors.New("invalid pod UID")
	// ErrUnsupported means that the operating system has no network
	// namespaces.
	ErrUnsupported = errors.New("network namespaces need Linux")
)

// Address is an IP address of an interface.
type Address struct {
	// Interface is the interface's name.
	Interface string
	// IP is the address, without a zone.
	IP netip.Addr
}

// Finder looks for the namespaces of pods.
type Finder struct {
	// Root is where the host's proc file system is mounted; empty means
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
