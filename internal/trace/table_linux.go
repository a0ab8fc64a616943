// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// tableOwner is the flag of a table that the kernel deletes when the socket
// that created it is closed, at the latest with the process
// (linux/netfilter/nf_tables.h, NFT_TABLE_F_OWNER; Linux 5.12).
const tableOwner = 2

// ownTable is the existing table of a trace.
type ownTable struct {
	conn *netlink.Conn
	// owned reports whether the kernel deletes the table with the socket.
	owned bool
}

// install writes the table in the network namespace of the calling thread. It
// replaces the table of a killed trace, and fails with ErrBusy if the table is
// in use.
func install(rules []ownRule, deadline, now time.Time) (*ownTable, error) {
	owned := true
	t, err := newOwnTable(rules, deadline, owned)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		// Linux before 5.12 does not support the owner flag.
		owned = false
		t, err = newOwnTable(rules, deadline, owned)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EPERM) {
		// EPERM means that the table has an owner, unless this process has no
		// privileges.
		if err = sweep(now); err == nil {
			t, err = newOwnTable(rules, deadline, owned)
		}
	}
	if err != nil {
		return nil, fmt.Errorf("write table %s: %w", TableName, err)
	}
	return t, nil
}

func newOwnTable(rules []ownRule, deadline time.Time, owned bool) (*ownTable, error) {
	conn, err := nfnetlink.Dial()
	if err != nil {
		return nil, err
	}
	t := &ownTable{conn: conn, owned: owned}
	if err := t.write(rules, deadline); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return t, nil
}

// sweep removes a table whose deadline has passed.
func sweep(now time.Time) (err error) {
	conn, err := nfnetlink.Dial()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	comments, err := ownComments(conn)
	if err != nil {
		return err
	}
	if err := mayRemove(comments, now); err != nil {
		return err
	}
	return removeTable(conn)
}

// remove deletes the table and closes its socket. It succeeds if the table does
// not exist.
func (t *ownTable) remove() error {
	return errors.Join(removeTable(t.conn), t.conn.Close())
}

func (t *ownTable) write(rules []ownRule, deadline time.Time) error {
	var b nfnetlink.Batch
	b.Add(unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Excl, "table", func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_TABLE_NAME, TableName)
		if t.owned {
			ae.Uint32(unix.NFTA_TABLE_FLAGS, tableOwner)
		}
		return nil
	})
	for name, hook := range map[string]uint32{chainPrerouting: unix.NF_INET_PRE_ROUTING, chainOutput: unix.NF_INET_LOCAL_OUT} {
		b.Add(unix.NFT_MSG_NEWCHAIN, netlink.Create, "chain "+name, func(ae *netlink.AttributeEncoder) error {
			ae.String(unix.NFTA_CHAIN_TABLE, TableName)
			ae.String(unix.NFTA_CHAIN_NAME, name)
			ae.Nested(unix.NFTA_CHAIN_HOOK, func(ae *netlink.AttributeEncoder) error {
				ae.Uint32(unix.NFTA_HOOK_HOOKNUM, hook)
				ae.Int32(unix.NFTA_HOOK_PRIORITY, ownPriority)
				return nil
			})
			ae.Uint32(unix.NFTA_CHAIN_POLICY, verdictAccept)
			ae.String(unix.NFTA_CHAIN_TYPE, "filter")
			return nil
		})
	}
	for _, r := range rules {
		b.Add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, "rule of chain "+r.chain, func(ae *netlink.AttributeEncoder) error {
			return encodeRule(ae, r, deadline)
		})
	}
	return b.Commit(t.conn)
}

func encodeRule(ae *netlink.AttributeEncoder, r ownRule, deadline time.Time) error {
	ae.String(unix.NFTA_RULE_TABLE, TableName)
	ae.String(unix.NFTA_RULE_CHAIN, r.chain)
	ae.Nested(unix.NFTA_RULE_EXPRESSIONS, func(ae *netlink.AttributeEncoder) error {
		for _, e := range r.exprs {
			data, err := expr.Marshal(unix.NFPROTO_INET, e)
			if err != nil {
				return err
			}
			ae.Bytes(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, data)
		}
		return nil
	})
	ae.Bytes(unix.NFTA_RULE_USERDATA, userdata.AppendString(nil, userdata.TypeComment, Comment(deadline, r.role)))
	return nil
}

// removeTable deletes the trace's table. It succeeds if the table does not
// exist.
func removeTable(conn *netlink.Conn) error {
	var b nfnetlink.Batch
	b.Add(unix.NFT_MSG_DELTABLE, 0, "table", func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_TABLE_NAME, TableName)
		return nil
	})
	if err := b.Commit(conn); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove table %s: %w", TableName, err)
	}
	return nil
}
