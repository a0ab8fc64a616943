// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// batch contains changes of one table that the kernel applies in one
// transaction.
type batch struct{ nfnetlink.Batch }

// commit sends the batch over a new socket. If it returns an error, the kernel
// has changed nothing, unless the error is an error of the socket.
func (b *batch) commit() error {
	if err := b.Err(); err != nil {
		return err
	}
	conn, err := dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	return explain(b.Commit(conn))
}

// explain translates the kernel's error numbers to the errors of this package.
func explain(err error) error {
	if errors.Is(err, unix.ERESTART) {
		return ErrChanged
	}
	if rejected, ok := errors.AsType[*nfnetlink.RejectedError](err); ok {
		rejected.Err = supported(rejected.Err)
	}
	return err
}

// supported adds ErrUnsupported to the errors that kernels return for an
// unknown family, chain type or expression. A batch refers only to objects that
// it creates, so ENOENT does not have another cause.
func supported(err error) error {
	for _, errno := range []unix.Errno{unix.ENOENT, unix.EOPNOTSUPP, unix.EPROTONOSUPPORT, unix.EAFNOSUPPORT} {
		if errors.Is(err, errno) {
			return fmt.Errorf("%w: %w", ErrUnsupported, err)
		}
	}
	return err
}

// dial opens a netfilter socket in the network namespace of the calling thread.
func dial() (*netlink.Conn, error) {
	conn, err := nfnetlink.Dial()
	return conn, supported(err)
}
