// SPDX-License-Identifier: Apache-2.0

package nfnetlink

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// ErrMessage indicates a message that does not have the format of its type.
var ErrMessage = errors.New("malformed netlink message")

// ErrInterrupted indicates that the kernel marked a dump as inconsistent because
// objects changed during the dump.
var ErrInterrupted = errors.New("dump interrupted")

// NFTables returns the netlink type of an nf_tables message (unix.NFT_MSG_*).
func NFTables(message uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | message)
}

// Conntrack returns the netlink type of a conntrack message.
func Conntrack(message uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | message)
}

// headerSize is the length of struct nfgenmsg in bytes: family, version,
// resource.
const headerSize = 4

// header returns the header of nfnetlink messages, struct nfgenmsg.
func header(family byte, resource uint16) []byte {
	return binary.BigEndian.AppendUint16([]byte{family, unix.NFNETLINK_V0}, resource)
}

// Attributes encodes the attributes of a message.
type Attributes func(*netlink.AttributeEncoder) error

// None encodes no attributes.
func None(*netlink.AttributeEncoder) error { return nil }

// Request returns a request for objects of an address family
// (linux/netfilter.h, NFPROTO_*).
func Request(t netlink.HeaderType, flags netlink.HeaderFlags, family byte, attributes Attributes) (netlink.Message, error) {
	data, err := encode(attributes)
	return netlink.Message{
		Header: netlink.Header{Type: t, Flags: netlink.Request | flags},
		Data:   append(header(family, 0), data...),
	}, err
}

func encode(attributes Attributes) ([]byte, error) {
	ae := netlink.NewAttributeEncoder()
	ae.ByteOrder = binary.BigEndian
	if err := attributes(ae); err != nil {
		return nil, err
	}
	return ae.Encode()
}

// Family returns the address family in the payload of a message, or 0 if the
// payload is empty.
func Family(payload []byte) byte {
	if len(payload) == 0 {
		return 0
	}
	return payload[0]
}

// Decode decodes the attributes in the payload of a message. It returns
// ErrMessage if the payload is malformed.
func Decode(payload []byte, each func(*netlink.AttributeDecoder) error) error {
	if len(payload) < headerSize {
		return fmt.Errorf("%w: %d bytes", ErrMessage, len(payload))
	}
	return DecodeAttributes(payload[headerSize:], each)
}

// DecodeAttributes decodes attributes without a header. It returns ErrMessage if
// the attributes are malformed.
func DecodeAttributes(data []byte, each func(*netlink.AttributeDecoder) error) error {
	ad, err := netlink.NewAttributeDecoder(data)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrMessage, err)
	}
	ad.ByteOrder = binary.BigEndian
	err = each(ad)
	if decodeErr := ad.Err(); decodeErr != nil {
		err = errors.Join(err, fmt.Errorf("%w: %w", ErrMessage, decodeErr))
	}
	return err
}
