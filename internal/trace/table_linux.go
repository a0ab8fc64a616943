// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
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
	conn, err := hear()
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
	conn, err := hear()
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
	var b batch
	b.add(unix.NFT_MSG_NEWTABLE, netlink.Create|netlink.Excl, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_TABLE_NAME, TableName)
		if t.owned {
			ae.Uint32(unix.NFTA_TABLE_FLAGS, tableOwner)
		}
		return nil
	})
	for name, hook := range map[string]uint32{chainPrerouting: unix.NF_INET_PRE_ROUTING, chainOutput: unix.NF_INET_LOCAL_OUT} {
		b.add(unix.NFT_MSG_NEWCHAIN, netlink.Create, func(ae *netlink.AttributeEncoder) error {
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
		b.add(unix.NFT_MSG_NEWRULE, netlink.Create|netlink.Append, func(ae *netlink.AttributeEncoder) error {
			return encodeRule(ae, r, deadline)
		})
	}
	return b.commit(t.conn)
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
	var b batch
	b.add(unix.NFT_MSG_DELTABLE, 0, func(ae *netlink.AttributeEncoder) error {
		ae.String(unix.NFTA_TABLE_NAME, TableName)
		return nil
	})
	if err := b.commit(conn); err != nil && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("remove table %s: %w", TableName, err)
	}
	return nil
}

// messageType returns the netlink type of an nf_tables message.
func messageType(message uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message)
}

// header returns the header of nfnetlink messages (linux/netfilter/nfnetlink.h,
// struct nfgenmsg).
func header(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

// batch is a list of messages that the kernel applies in one transaction
// (Linux, net/netfilter/nfnetlink.c, nfnetlink_rcv_batch).
type batch struct {
	messages []netlink.Message
	err      error
}

func (b *batch) add(message uint16, flags netlink.HeaderFlags, attributes func(*netlink.AttributeEncoder) error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	err := attributes(ae)
	data, encodeErr := ae.Encode()
	b.err = errors.Join(b.err, err, encodeErr)
	b.messages = append(b.messages, netlink.Message{
		Header: netlink.Header{Type: messageType(message), Flags: netlink.Request | flags},
		Data:   append(header(unix.NFPROTO_INET, 0), data...),
	})
}

// commit sends the batch and waits for the reply to its last message, which is
// sent after the commit. Errors are always sent. After an error, the socket can
// contain further errors.
func (b *batch) commit(conn *netlink.Conn) error {
	if b.err != nil {
		return b.err
	}
	edge := func(t uint16) netlink.Message {
		return netlink.Message{
			Header: netlink.Header{Type: netlink.HeaderType(t), Flags: netlink.Request},
			Data:   header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
		}
	}
	b.messages[len(b.messages)-1].Header.Flags |= netlink.Acknowledge
	sent := append([]netlink.Message{edge(unix.NFNL_MSG_BATCH_BEGIN)}, b.messages...)
	sent, err := conn.SendMessages(append(sent, edge(unix.NFNL_MSG_BATCH_END)))
	if err != nil {
		return fmt.Errorf("send the batch: %w", err)
	}
	last := sent[len(sent)-2].Header.Sequence
	for {
		replies, err := conn.Receive()
		if err != nil {
			return err
		}
		for _, r := range replies {
			if r.Header.Type == netlink.Error && r.Header.Sequence == last {
				return nil
			}
		}
	}
}
