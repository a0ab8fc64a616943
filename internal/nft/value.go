// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
)

// DataType is the name of an nftables data type in nft(8), DATA TYPES.
type DataType string

// Data types of fields and sets.
const (
	TypeInterfaceName DataType = "ifname"
	TypeNFProtocol    DataType = "nf_proto"
	TypeInetProtocol  DataType = "inet_proto"
	TypeIPv4Address   DataType = "ipv4_addr"
	TypeIPv6Address   DataType = "ipv6_addr"
	TypePort          DataType = "inet_service"
	TypeState         DataType = "ct_state"
	TypeMark          DataType = "mark"
)

// InterfaceNameSize is IFNAMSIZ of linux/if.h, including the terminating zero.
const InterfaceNameSize = 16

// ErrValue indicates a value that is invalid for its type.
var ErrValue = errors.New("invalid value")

// protocolNumbers are the values of TypeNFProtocol (linux/netfilter.h,
// NFPROTO_*) and TypeInetProtocol (RFC 5237 registry) that rules use.
var protocolNumbers = map[DataType]map[string]byte{
	TypeNFProtocol:   {"ipv4": 2, "ipv6": 10},
	TypeInetProtocol: {"tcp": 6, "udp": 17},
}

// Flags of TypeState (linux/netfilter/nf_conntrack_common.h, NF_CT_STATE_BIT). The
// kernel stores them in host byte order.
const (
	stateInvalid = 1
	stateNew     = 8
)

var stateNames = map[uint32]string{stateInvalid: "invalid", stateNew: "new"}

// Type returns the data type of the field's values. It is empty for
// FieldUnrecognized.
func (f Field) Type() DataType { return fieldTypes[f] }

// Fields returns the fields that rules can match.
func Fields() []Field { return slices.Sorted(maps.Keys(fieldTypes)) }

// Implied returns the match that must hold before the field can be read. ok is
// false if every packet has the field.
func (f Field) Implied() (m Match, ok bool) {
	m, ok = implied[f]
	return m, ok
}

// fieldTypes are the data types of the fields.
var fieldTypes = map[Field]DataType{
	FieldInputInterface:     TypeInterfaceName,
	FieldOutputInterface:    TypeInterfaceName,
	FieldNFProtocol:         TypeNFProtocol,
	FieldTransportProtocol:  TypeInetProtocol,
	FieldSourceAddress:      TypeIPv4Address,
	FieldDestinationAddress: TypeIPv4Address,
	FieldSourceIPv6:         TypeIPv6Address,
	FieldDestinationIPv6:    TypeIPv6Address,
	FieldTCPDestinationPort: TypePort,
	FieldUDPDestinationPort: TypePort,
	FieldConntrackState:     TypeState,
	FieldPacketMark:         TypeMark,
	FieldConntrackMark:      TypeMark,
}

// implied maps a field to the match that ensures that a packet has this field.
// nft omits this match from its listing if the match of the field follows
// immediately.
var implied = map[Field]Match{
	FieldSourceAddress:      {Field: FieldNFProtocol, Value: "ipv4"},
	FieldDestinationAddress: {Field: FieldNFProtocol, Value: "ipv4"},
	FieldSourceIPv6:         {Field: FieldNFProtocol, Value: "ipv6"},
	FieldDestinationIPv6:    {Field: FieldNFProtocol, Value: "ipv6"},
	FieldTCPDestinationPort: {Field: FieldTransportProtocol, Value: "tcp"},
	FieldUDPDestinationPort: {Field: FieldTransportProtocol, Value: "udp"},
}

// EncodeValue returns the bytes that the kernel compares for a value, in
// network byte order. For a prefix on a byte boundary it returns only the bytes
// of the prefix.
func EncodeValue(t DataType, text string) ([]byte, error) {
	switch t {
	case TypeInterfaceName:
		if text == "" || len(text) >= InterfaceNameSize {
			return nil, fmt.Errorf("%w: interface name %q", ErrValue, text)
		}
		return append([]byte(text), make([]byte, InterfaceNameSize-len(text))...), nil
	case TypeNFProtocol, TypeInetProtocol:
		n, ok := protocolNumbers[t][text]
		if !ok {
			return nil, fmt.Errorf("%w: protocol %q", ErrValue, text)
		}
		return []byte{n}, nil
	case TypeIPv4Address, TypeIPv6Address:
		return encodePrefix(t, text)
	case TypePort:
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%w: port %q", ErrValue, text)
		}
		return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
	case TypeState:
		for state, name := range stateNames {
			if name == text {
				return binary.NativeEndian.AppendUint32(nil, state), nil
			}
		}
		return nil, fmt.Errorf("%w: state %q", ErrValue, text)
	case TypeMark:
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: mark %q", ErrValue, text)
		}
		return binary.NativeEndian.AppendUint32(nil, uint32(n)), nil
	default:
		return nil, fmt.Errorf("%w: type %q", ErrValue, t)
	}
}

// MarkText returns a mark in nft's notation.
func MarkText(mark uint32) string { return fmt.Sprintf("0x%08x", mark) }

// IsAddressOf reports whether the address is of the type.
func IsAddressOf(t DataType, a netip.Addr) bool {
	return t == TypeIPv4Address && a.Is4() || t == TypeIPv6Address && a.Is6() && a.Zone() == ""
}

// encodePrefix returns the bytes of an address, or of a prefix whose length is
// a multiple of 8.
func encodePrefix(t DataType, text string) ([]byte, error) {
	if a, err := netip.ParseAddr(text); err == nil && IsAddressOf(t, a) {
		return a.AsSlice(), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !IsAddressOf(t, p.Addr()) || p != p.Masked() || p.Bits() == 0 || p.Bits()%8 != 0 {
		return nil, fmt.Errorf("%w: %q is neither a value of type %s nor a prefix on a byte boundary", ErrValue, text, t)
	}
	return p.Addr().AsSlice()[:p.Bits()/8], nil
}

// DecodeValue is the inverse of EncodeValue.
func DecodeValue(t DataType, b []byte) (string, error) {
	switch t {
	case TypeInterfaceName:
		name, _, _ := bytes.Cut(b, []byte{0})
		if len(b) != InterfaceNameSize {
			// A shorter comparison is a wildcard in nft.
			return string(name) + "*", nil
		}
		return string(name), nil
	case TypeNFProtocol, TypeInetProtocol:
		for name, n := range protocolNumbers[t] {
			if len(b) == 1 && b[0] == n {
				return name, nil
			}
		}
	case TypeIPv4Address, TypeIPv6Address:
		if text, ok := decodePrefix(t, b); ok {
			return text, nil
		}
	case TypePort:
		if len(b) == 2 {
			return strconv.Itoa(int(binary.BigEndian.Uint16(b))), nil
		}
	case TypeState:
		if len(b) == 4 && stateNames[binary.NativeEndian.Uint32(b)] != "" {
			return stateNames[binary.NativeEndian.Uint32(b)], nil
		}
	case TypeMark:
		if len(b) == 4 {
			return MarkText(binary.NativeEndian.Uint32(b)), nil
		}
	}
	return "", fmt.Errorf("%w: % x is not a value of type %s", ErrValue, b, t)
}

// decodePrefix is the inverse of encodePrefix.
func decodePrefix(t DataType, b []byte) (string, bool) {
	size := int(t.Size())
	if len(b) == 0 || len(b) > size {
		return "", false
	}
	a, _ := netip.AddrFromSlice(append(bytes.Clone(b), make([]byte, size-len(b))...))
	if len(b) == size {
		return a.String(), true
	}
	return netip.PrefixFrom(a, 8*len(b)).String(), true
}

// Size returns the length of the keys of a set in bytes.
func (t DataType) Size() uint32 {
	switch t {
	case TypeIPv4Address, TypeState, TypeMark:
		return 4
	case TypeIPv6Address:
		return 16
	case TypePort:
		return 2
	case TypeInterfaceName:
		return InterfaceNameSize
	case TypeNFProtocol, TypeInetProtocol:
		return 1
	default:
		return 0
	}
}
