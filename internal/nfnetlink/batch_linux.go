// SPDX-License-Identifier: Apache-2.0

package nfnetlink

import (
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Batch is a list of nf_tables messages that the kernel applies in one
// transaction: either all messages or none (Linux, net/netfilter/nfnetlink.c,
// nfnetlink_rcv_batch).
type Batch struct {
	// Generation, if not 0, is the generation of the ruleset that the batch
	// requires. In any other generation, the kernel rejects the batch with
	// unix.ERESTART.
	Generation uint32

	messages []netlink.Message
	// objects describes the object of each message for error texts.
	objects []string
	errs    []error
}

// Add appends a message about an object of the family inet. An error of the
// attributes is returned by Commit.
func (b *Batch) Add(message uint16, flags netlink.HeaderFlags, object string, attributes Attributes) {
	m, err := Request(NFTables(message), flags, unix.NFPROTO_INET, attributes)
	if err != nil {
		b.Fail(fmt.Errorf("encode %s: %w", object, err))
		return
	}
	b.messages = append(b.messages, m)
	b.objects = append(b.objects, object)
}

// Fail adds an error, so that Commit does not send the batch. It ignores nil.
func (b *Batch) Fail(err error) {
	if err != nil {
		b.errs = append(b.errs, err)
	}
}

// Err returns the errors of Add and Fail.
func (b *Batch) Err() error { return errors.Join(b.errs...) }

// Messages returns the messages of Add.
func (b *Batch) Messages() []netlink.Message { return b.messages }

// RejectedError is the error of a message of a batch that the kernel rejected.
type RejectedError struct {
	// Object is the object of the message.
	Object string
	// Message is the kernel's description. It is usually empty.
	Message string
	// Err is the kernel's error number, a unix.Errno.
	Err error
}

// Error returns a text with the object.
func (e *RejectedError) Error() string {
	if e.Message != "" {
		return fmt.Sprintf("%s: %s: %v", e.Object, e.Message, e.Err)
	}
	return fmt.Sprintf("%s: %v", e.Object, e.Err)
}

// Unwrap returns the kernel's error number.
func (e *RejectedError) Unwrap() error { return e.Err }

// sendBufferDefault is less than the usual net.core.wmem_default. A larger
// batch requests a larger buffer.
const sendBufferDefault = 64 << 10

// Commit sends the batch and returns nil after the kernel has committed it. If
// it returns an error, the kernel has changed nothing, unless the error is an
// error of the socket. A *RejectedError contains the first message that the
// kernel rejected. The socket can then contain further errors of the batch.
func (b *Batch) Commit(conn *netlink.Conn) error {
	if err := b.Err(); err != nil {
		return err
	}
	begin, err := b.begin()
	if err != nil {
		return err
	}
	// Only the last message requests an acknowledgment, which is sent after the
	// commit. Errors are always sent. Acknowledgments for all messages could
	// overflow the receive buffer of the socket.
	b.messages[len(b.messages)-1].Header.Flags |= netlink.Acknowledge
	sent := make([]netlink.Message, 0, len(b.messages)+2)
	sent = append(sent, begin)
	sent = append(sent, b.messages...)
	sent = append(sent, marker(unix.NFNL_MSG_BATCH_END))
	if size := size(sent); size > sendBufferDefault {
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

// begin returns the first message of the transaction.
func (b *Batch) begin() (netlink.Message, error) {
	m := marker(unix.NFNL_MSG_BATCH_BEGIN)
	if b.Generation == 0 {
		return m, nil
	}
	id, err := encode(func(ae *netlink.AttributeEncoder) error {
		ae.Uint32(unix.NFNL_BATCH_GENID, b.Generation)
		return nil
	})
	m.Data = append(m.Data, id...)
	return m, err
}

func marker(message uint16) netlink.Message {
	return netlink.Message{
		Header: netlink.Header{Type: netlink.HeaderType(message), Flags: netlink.Request},
		Data:   header(unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES),
	}
}

// size returns the length of messages in bytes.
func size(messages []netlink.Message) int {
	const netlinkHeader = 16
	n := 0
	for _, m := range messages {
		n += netlinkHeader + len(m.Data)
	}
	return n
}

// await reads replies until the acknowledgment of the last message or the first
// error. Errors are sent in the order of the messages.
func (b *Batch) await(conn *netlink.Conn, sent []netlink.Message) error {
	acknowledged := sent[len(sent)-2].Header.Sequence
	for {
		replies, err := conn.Receive()
		if err != nil {
			return b.rejected(err, sent)
		}
		for _, r := range replies {
			if r.Header.Type == netlink.Error && r.Header.Sequence == acknowledged {
				return nil
			}
		}
	}
}

// rejected adds the object of the rejected message to an error.
func (b *Batch) rejected(err error, sent []netlink.Message) error {
	var oe *netlink.OpError
	if !errors.As(err, &oe) {
		return fmt.Errorf("read the reply to the batch: %w", err)
	}
	object := "batch"
	for i, m := range sent[1 : len(sent)-1] {
		if m.Header.Sequence == oe.Sequence {
			object = b.objects[i]
		}
	}
	return &RejectedError{Object: object, Message: oe.Message, Err: oe.Err}
}
