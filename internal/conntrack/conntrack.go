// SPDX-License-Identifier: Apache-2.0

// Package conntrack lists and deletes tracked flows in the network namespace of
// the calling thread.
package conntrack

import "errors"

// ErrUnsupported means that the operating system does not support connection
// tracking.
var ErrUnsupported = errors.New("connection tracking requires Linux")
