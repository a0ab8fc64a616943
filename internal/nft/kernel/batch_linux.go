// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// batch is a list of nf_tables messages that the kernel applies in one
// transaction: either all messages or none (Linux, net/netfilter/nfnetlink.c,
// nfnetlink_rcv_batch).
type batch struct {
	messages []netlink.Message
	// objects describes the object of each message for error texts.
	objects []string
	// generation, if not 0, is the generation of the ruleset that the batch
	// requires. The kernel rejects the batch in any other generation.
	generation uint32
	err        error
}

// messageType returns the netlink type of an nf_tables message.
func messageType(message uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message)
}

// nfgenmsg returns the header of nfnetlink messages: family, version, resource.
func nfgenmsg(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

// add appends a message about an object of the table's family.
func (b *batch) add(message uint16, flags netlink.HeaderFlags, object string, attributes func(*netlink.AttributeEncoder) error) {
	data, err := encodeAttributes(attributes)
	if err != nil {
		b.err = errors.Join(b.err, fmt.Errorf("encode %s: %w", object, err))
		return
	}
	b.messages = append(b.messages, netlink.Message{
		Header: netlink.Header{Type: messageType(message), Flags: netlink.Request | flags},
		Data:   append(nfgenmsg(unix.NFPROTO_INET, 0), data...),
	})
	b.objects = append(b.objects, object)
}

func encodeAttributes(attributes func(*netlink.AttributeEncoder) error) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	if err := attributes(ae); err != nil {
		return nil, err
	}
	return ae.Encode()
}

// sendBufferDefault is less than the usual net.core.wmem_default. A larger
// batch requests a larger buffer.
const sendBufferDefault = 64 << 10

// commit sends the batch and returns nil after the kernel has committed it. If
// it returns an error, the kernel has changed nothing, unless the error is an
// error of the socket.
func (b *batch) commit() error {
	if b.err != nil {
		return b.err
	}
	conn, err := dial()
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()

	// Only the last message requests an acknowledgment, which is sent after the
	// commit. Errors are always sent. Acknowledgments for all messages could
	// overflow the receive buffer of the socket.
	last := len(b.messages) - 1
	b.messages[last].Header.Flags |= netlink.Acknowledge
	sent := make([]netlink.Message, 0, len(b.messages)+2)
	begin := marker(unix.NFNL_MSG_BATCH_BEGIN)
	if b.generation != 0 {
		id, err := encodeAttributes(func(ae *netlink.AttributeEncoder) error {
			ae.Uint32(unix.NFNL_BATCH_GENID, b.generation)
			return nil
		})
		if err != nil {
			return err
		}
		begin.Data = append(begin.Data, id...)
	}
	sent = append(sent, begin)
	sent = append(sent, b.messages...)
	sent = append(sent, marker(unix.NFNL_MSG_BATCH_END))
	if size := batchSize(sent); size > sendBufferDefault {
		if err := conn.SetWriteBuffer(2 * size); err != nil {
			return fmt.Errorf("enlarge the netlink send buffer: %w", err)
		}
	}
	sent, err = conn.SendMessages(sent)
	if err != nil {
		return fmt.Errorf("send the batch: %w", err)
	}
	return b.await(conn, sent)
}

func marker(message uint16) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(message), Flags: netlink.Request},
		Data:   nfgenmsg(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
	}
}

func batchSize(messages []netlink.Message) int {
	const header = 16
	n := 0
	for _, m := range messages {
		n += header + len(m.Data)
	}
	return n
}

// await reads replies until the acknowledgment of the last message or the first
// error. Errors are sent in the order of the messages.
func (b *batch) await(conn *netlink.Conn, sent []netlink.Message) error {
	acknowledged := sent[len(sent)-2].Header.Sequence
	for {
		replies, err := conn.Receive()
		if err != nil {
			return b.explain(err, sent)
		}
		for _, r := range replies {
			if r.Header.Type == netlink.Error && r.Header.Sequence == acknowledged {
				return nil
			}
		}
	}
}

// explain adds the object of the rejected message to an error.
func (b *batch) explain(err error, sent []netlink.Message) error {
	var oe *netlink.OpError
	if !errors.As(err, &oe) {
		return fmt.Errorf("read the reply to the batch: %w", err)
	}
	if errors.Is(oe.Err, unix.ERESTART) {
		return ErrChanged
	}
	object := "batch"
	for i, m := range sent[1 : len(sent)-1] {
		if m.Header.Sequence == oe.Sequence {
			object = b.objects[i]
		}
	}
	if oe.Message != "" {
		object += ": " + oe.Message
	}
	return fmt.Errorf("%s: %w", object, supported(oe.Err))
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

// dial opens a netfilter netlink socket in the network namespace of the calling
// thread.
func dial() (*netlink.Conn, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", supported(err))
	}
	// Extended error messages, not supported by kernels before 4.12.
	_ = conn.SetOption(netlink.ExtendedAcknowledge, true)
	return conn, nil
}
