// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// nfgenmsgSize is the length of the header of all nfnetlink messages: family,
// version, resource (linux/netfilter/nfnetlink.h, struct nfgenmsg).
const nfgenmsgSize = 4

// errMessage indicates an invalid message.
var errMessage = errors.New("malformed netlink message")

// attributes calls each with the attributes after the nfnetlink header.
func attributes(data []byte, each func(*netlink.AttributeDecoder)) error {
	if len(data) < nfgenmsgSize {
		return fmt.Errorf("%w: %d bytes", errMessage, len(data))
	}
	ad, err := netlink.NewAttributeDecoder(data[nfgenmsgSize:])
	if err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	ad.ByteOrder = binary.BigEndian
	for ad.Next() {
		each(ad)
	}
	if err := ad.Err(); err != nil {
		return fmt.Errorf("%w: %w", errMessage, err)
	}
	return nil
}

// decodeTrace decodes the payload of a trace message
// (linux/netfilter/nf_tables.h, enum nft_trace_attributes). It ignores unknown
// attributes.
func decodeTrace(data []byte) (Event, error) {
	var e Event
	var network, transport []byte
	if len(data) > 0 {
		e.Family = data[0]
	}
	err := attributes(data, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case unix.NFTA_TRACE_TABLE:
			e.Table = ad.String()
		case unix.NFTA_TRACE_CHAIN:
			e.Chain = ad.String()
		case unix.NFTA_TRACE_RULE_HANDLE:
			e.Handle = ad.Uint64()
		case unix.NFTA_TRACE_TYPE:
			e.Kind = EventKind(ad.Uint32())
		case unix.NFTA_TRACE_VERDICT:
			ad.Nested(e.decodeVerdict)
		case unix.NFTA_TRACE_POLICY:
			e.Policy = ad.Uint32()
		case unix.NFTA_TRACE_NETWORK_HEADER:
			network = ad.Bytes()
		case unix.NFTA_TRACE_TRANSPORT_HEADER:
			transport = ad.Bytes()
		default:
			e.decodeNumber(ad)
		}
	})
	if p, ok := parsePacket(network, transport); ok {
		e.Packet = &p
	}
	if e.Kind == EventRule && e.Handle == 0 {
		// Newer kernels report the end of a chain as a rule without a handle.
		e.Kind = EventReturn
	}
	return e, err
}

// decodeNumber decodes the numeric attributes of enum nft_trace_attributes.
func (e *Event) decodeNumber(ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case unix.NFTA_TRACE_ID:
		e.ID = ad.Uint32()
	case unix.NFTA_TRACE_IIF:
		e.Input = ad.Uint32()
	}
}

// decodeVerdict decodes enum nft_verdict_attributes.
func (e *Event) decodeVerdict(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			e.Verdict = ad.Int32()
		case unix.NFTA_VERDICT_CHAIN:
			e.Target = ad.String()
		}
	}
	return nil
}

// Attributes of conntrack messages (linux/netfilter/nfnetlink_conntrack.h, enum
// ctattr_type and those after it).
const (
	ctaTupleOrig  = 1
	ctaTupleReply = 2
	ctaStatus     = 3
	ctaProtoInfo  = 4

	ctaTupleIP    = 1
	ctaTupleProto = 2

	ctaIPv4Source      = 1
	ctaIPv4Destination = 2
	ctaIPv6Source      = 3
	ctaIPv6Destination = 4

	ctaProtoNumber          = 1
	ctaProtoSourcePort      = 2
	ctaProtoDestinationPort = 3
	ctaProtoICMPID          = 4
	ctaProtoICMPv6ID        = 7

	ctaProtoInfoTCP      = 1
	ctaProtoInfoTCPState = 1
)

// Conntrack messages (linux/netfilter/nfnetlink_conntrack.h, enum
// cntl_msg_types).
const (
	conntrackNew    = 0
	conntrackGet    = 1
	conntrackDelete = 2
)

// decodeConntrack decodes the payload of a conntrack message.
func decodeConntrack(message uint16, data []byte) (ConntrackEvent, error) {
	var e ConntrackEvent
	if message == conntrackDelete {
		e.Kind = ConntrackGone
	}
	err := attributes(data, func(ad *netlink.AttributeDecoder) {
		switch ad.Type() {
		case ctaTupleOrig:
			ad.Nested(func(ad *netlink.AttributeDecoder) error { return decodeTuple(ad, &e.Original) })
		case ctaTupleReply:
			ad.Nested(func(ad *netlink.AttributeDecoder) error { return decodeTuple(ad, &e.Reply) })
		case ctaStatus:
			e.Status = ad.Uint32()
		case ctaProtoInfo:
			ad.Nested(func(ad *netlink.AttributeDecoder) error { return decodeProtoInfo(ad, &e.TCPState) })
		}
	})
	return e, err
}

func decodeTuple(ad *netlink.AttributeDecoder, t *Tuple) error {
	var source, destination netip.Addr
	var sourcePort, destinationPort uint16
	for ad.Next() {
		switch ad.Type() {
		case ctaTupleIP:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					a, _ := netip.AddrFromSlice(ad.Bytes())
					switch ad.Type() {
					case ctaIPv4Source, ctaIPv6Source:
						source = a
					case ctaIPv4Destination, ctaIPv6Destination:
						destination = a
					}
				}
				return nil
			})
		case ctaTupleProto:
			ad.Nested(func(ad *netlink.AttributeDecoder) error {
				for ad.Next() {
					switch ad.Type() {
					case ctaProtoNumber:
						t.Protocol = ad.Uint8()
					case ctaProtoSourcePort:
						sourcePort = ad.Uint16()
					case ctaProtoDestinationPort:
						destinationPort = ad.Uint16()
					case ctaProtoICMPID, ctaProtoICMPv6ID:
						sourcePort = ad.Uint16()
						destinationPort = sourcePort
					}
				}
				return nil
			})
		}
	}
	t.Source, t.Destination = netip.AddrPortFrom(source, sourcePort), netip.AddrPortFrom(destination, destinationPort)
	return nil
}

func decodeProtoInfo(ad *netlink.AttributeDecoder, state *uint8) error {
	for ad.Next() {
		if ad.Type() != ctaProtoInfoTCP {
			continue
		}
		ad.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() == ctaProtoInfoTCPState {
					*state = ad.Uint8()
				}
			}
			return nil
		})
	}
	return nil
}
