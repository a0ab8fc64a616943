// SPDX-License-Identifier: Apache-2.0

package conntrack

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// Messages and attributes (linux/netfilter/nfnetlink_conntrack.h).
const (
	messageNew    = 0
	messageGet    = 1
	messageDelete = 2

	attributeOriginal = 1
	attributeReply    = 2
	attributeMark     = 8
	attributeID       = 12
	attributeZone     = 18

	tupleIP       = 1
	tupleProtocol = 2

	ipv4Source, ipv4Destination = 1, 2
	ipv6Source, ipv6Destination = 3, 4

	protocolNumber          = 1
	protocolSourcePort      = 2
	protocolDestinationPort = 3
)

// headerSize is the length of struct nfgenmsg: family, version, resource.
const headerSize = 4

// List returns the flows of both address families.
func List() ([]Flow, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("open a netfilter socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	replies, err := conn.Execute(message(messageGet, netlink.Request|netlink.Dump, unix.AF_UNSPEC, nil))
	if err != nil {
		return nil, fmt.Errorf("list the tracked flows: %w", err)
	}
	flows := make([]Flow, 0, len(replies))
	for _, r := range replies {
		if r.Header.Type != messageType(messageNew) || len(r.Data) < headerSize {
			continue
		}
		f, err := decode(r.Data[headerSize:])
		if err != nil {
			return nil, fmt.Errorf("read a tracked flow: %w", err)
		}
		flows = append(flows, f)
	}
	return flows, nil
}

// Delete deletes flows that List returned from the kernel's table, and returns
// how many of them existed. The next packet of a deleted flow is handled as its
// first packet.
func Delete(flows []Flow) (int, error) {
	if len(flows) == 0 {
		return 0, nil
	}
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return 0, fmt.Errorf("open a netfilter socket: %w", err)
	}
	defer func() { _ = conn.Close() }()
	n := 0
	for _, f := range flows {
		family := byte(unix.AF_INET)
		if f.Original.Source.Addr().Is6() {
			family = unix.AF_INET6
		}
		_, err := conn.Execute(message(messageDelete, netlink.Request|netlink.Acknowledge, family, f.identity))
		switch {
		case err == nil:
			n++
		case !errors.Is(err, unix.ENOENT):
			return n, fmt.Errorf("delete a tracked flow: %w", err)
		}
	}
	return n, nil
}

func messageType(kind uint16) netlink.HeaderType {
	return netlink.HeaderType(unix.NFNL_SUBSYS_CTNETLINK<<8 | kind)
}

func message(kind uint16, flags netlink.HeaderFlags, family byte, attributes []attribute) netlink.Message {
	data := []byte{family, unix.NFNETLINK_V0, 0, 0}
	list := make([]netlink.Attribute, len(attributes))
	for i, a := range attributes {
		list[i] = netlink.Attribute{Type: a.kind, Data: a.data}
	}
	// Decoded attributes can always be encoded.
	if encoded, err := netlink.MarshalAttributes(list); err == nil {
		data = append(data, encoded...)
	}
	return netlink.Message{Header: netlink.Header{Type: messageType(kind), Flags: flags}, Data: data}
}

// decode decodes the attributes of a flow.
func decode(data []byte) (Flow, error) {
	var f Flow
	ad, err := decoder(data)
	if err != nil {
		return f, err
	}
	for ad.Next() {
		kind := ad.Type()
		switch kind {
		case attributeOriginal:
			f.Original, f.Protocol, err = decodeTuple(ad.Bytes())
			f.identity = append(f.identity, attribute{attributeOriginal | unix.NLA_F_NESTED, ad.Bytes()})
		case attributeReply:
			f.Reply, _, err = decodeTuple(ad.Bytes())
		case attributeMark:
			f.Mark = ad.Uint32()
		case attributeZone:
			f.Zone = ad.Uint16()
			f.identity = append(f.identity, attribute{kind, ad.Bytes()})
		case attributeID:
			f.identity = append(f.identity, attribute{kind, ad.Bytes()})
		}
		if err != nil {
			return f, err
		}
	}
	return f, ad.Err()
}

func decoder(data []byte) (*netlink.AttributeDecoder, error) {
	ad, err := netlink.NewAttributeDecoder(data)
	if err == nil {
		ad.ByteOrder = binary.BigEndian
	}
	return ad, err
}

func decodeTuple(data []byte) (Tuple, byte, error) {
	var t Tuple
	var protocol byte
	var source, destination netip.Addr
	var sourcePort, destinationPort uint16
	ad, err := decoder(data)
	if err != nil {
		return t, 0, err
	}
	for ad.Next() {
		switch ad.Type() {
		case tupleIP:
			ad.Nested(func(ip *netlink.AttributeDecoder) error {
				for ip.Next() {
					switch ip.Type() {
					case ipv4Source, ipv6Source:
						source, _ = netip.AddrFromSlice(ip.Bytes())
					case ipv4Destination, ipv6Destination:
						destination, _ = netip.AddrFromSlice(ip.Bytes())
					}
				}
				return nil
			})
		case tupleProtocol:
			ad.Nested(func(p *netlink.AttributeDecoder) error {
				for p.Next() {
					switch p.Type() {
					case protocolNumber:
						protocol = p.Uint8()
					case protocolSourcePort:
						sourcePort = p.Uint16()
					case protocolDestinationPort:
						destinationPort = p.Uint16()
					}
				}
				return nil
			})
		}
	}
	t.Source, t.Destination = netip.AddrPortFrom(source, sourcePort), netip.AddrPortFrom(destination, destinationPort)
	return t, protocol, ad.Err()
}
