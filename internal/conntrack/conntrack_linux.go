// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// List returns the flows of both address families.
func List() ([]nfnetlink.Flow, error) {
	conn, err := nfnetlink.Dial()
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	flows, err := nfnetlink.Flows(conn)
	if err != nil {
		return nil, fmt.Errorf("list the tracked flows: %w", err)
	}
	return flows, nil
}

// Delete deletes flows that List returned from the kernel's table, and returns
// how many of them existed. The next packet of a deleted flow is handled as its
// first packet.
func Delete(flows []nfnetlink.Flow) (int, error) {
	if len(flows) == 0 {
		return 0, nil
	}
	conn, err := nfnetlink.Dial()
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close() }()
	n := 0
	for _, f := range flows {
		request, err := deletion(f)
		if err != nil {
			return n, err
		}
		_, err = conn.Execute(request)
		switch {
		case err == nil:
			n++
		case !errors.Is(err, unix.ENOENT):
			return n, fmt.Errorf("delete a tracked flow: %w", err)
		}
	}
	return n, nil
}

// deletion returns the request that deletes a flow.
func deletion(f nfnetlink.Flow) (netlink.Message, error) {
	family := byte(unix.AF_INET)
	if f.Original.Source.Addr().Is6() {
		family = unix.AF_INET6
	}
	return nfnetlink.Request(nfnetlink.Conntrack(nfnetlink.ConntrackDelete), netlink.Acknowledge, family, func(ae *netlink.AttributeEncoder) error {
		for _, a := range f.Identity {
			ae.Bytes(a.Type, a.Data)
		}
		return nil
	})
}
