// SPDX-License-Identifier: Apache-2.0

package nfnetlink

import (
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages of conntrack (linux/netfilter/nfnetlink_conntrack.h, enum
// cntl_msg_types).
const (
	ConntrackNew    = 0
	ConntrackGet    = 1
	ConntrackDelete = 2
)

// Attributes of conntrack messages (linux/netfilter/nfnetlink_conntrack.h, enum
// ctattr_type and the enumerations after it).
const (
	ctaTupleOriginal = 1
	ctaTupleReply    = 2
	ctaStatus        = 3
	ctaProtoInfo     = 4
	ctaMark          = 8
	ctaID            = 12
	ctaZone          = 18

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

// DecodeFlow decodes the payload of a conntrack message. It ignores unknown
// attributes, and returns ErrMessage if the payload is malformed.
func DecodeFlow(payload []byte) (Flow, error) {
	var f Flow
	err := Decode(payload, func(ad *netlink.AttributeDecoder) error {
		f = decodeFlow(ad)
		return nil
	})
	return f, err
}

// decodeFlow decodes the attributes of an entry. Errors stay in the decoder.
func decodeFlow(ad *netlink.AttributeDecoder) Flow {
	var f Flow
	identity := func(kind uint16) {
		f.Identity = append(f.Identity, netlink.Attribute{Type: kind, Data: ad.Bytes()})
	}
	for ad.Next() {
		switch kind := ad.Type(); kind {
		case ctaTupleOriginal:
			identity(kind | unix.NLA_F_NESTED)
			ad.Nested(f.Original.decode)
		case ctaTupleReply:
			ad.Nested(f.Reply.decode)
		case ctaStatus:
			f.Status = ad.Uint32()
		case ctaProtoInfo:
			ad.Nested(f.decodeProtoInfo)
		case ctaMark:
			f.Mark = ad.Uint32()
		case ctaZone:
			f.Zone = ad.Uint16()
			identity(kind)
		case ctaID:
			identity(kind)
		}
	}
	return f
}

// decode decodes enum ctattr_tuple.
func (t *Tuple) decode(ad *netlink.AttributeDecoder) error {
	var source, destination netip.Addr
	var sourcePort, destinationPort uint16
	addresses := func(ad *netlink.AttributeDecoder) error {
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
	}
	transport := func(ad *netlink.AttributeDecoder) error {
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
	}
	for ad.Next() {
		switch ad.Type() {
		case ctaTupleIP:
			ad.Nested(addresses)
		case ctaTupleProto:
			ad.Nested(transport)
		}
	}
	t.Source, t.Destination = netip.AddrPortFrom(source, sourcePort), netip.AddrPortFrom(destination, destinationPort)
	return nil
}

// decodeProtoInfo decodes enum ctattr_protoinfo.
func (f *Flow) decodeProtoInfo(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		if ad.Type() != ctaProtoInfoTCP {
			continue
		}
		ad.Nested(func(ad *netlink.AttributeDecoder) error {
			for ad.Next() {
				if ad.Type() == ctaProtoInfoTCPState {
					f.TCPState = ad.Uint8()
				}
			}
			return nil
		})
	}
	return nil
}

// Flows returns all entries of the connection tracking table, of both address
// families.
func Flows(conn *netlink.Conn) ([]Flow, error) {
	request, err := Request(Conntrack(ConntrackGet), netlink.Dump, unix.AF_UNSPEC, None)
	if err != nil {
		return nil, err
	}
	var flows []Flow
	err = Query(conn, request, Conntrack(ConntrackNew), func(ad *netlink.AttributeDecoder) error {
		flows = append(flows, decodeFlow(ad))
		return nil
	})
	return flows, err
}
