// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// DataType is an nftables data type by its name in nft(8), DATA TYPES.
type DataType string

// Data types of the fields and sets.
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

// interfaceNameSize is IFNAMSIZ of linux/if.h: a name and its final zero.
const interfaceNameSize = 16

// errValue marks a value that is not one of its type.
var errValue = errors.New("invalid value")

// protocolNumbers are the values of TypeNFProtocol (linux/netfilter.h,
// NFPROTO_*) and TypeInetProtocol (RFC 5237 registry) that rules use.
var protocolNumbers = map[DataType]map[string]byte{
	TypeNFProtocol:   {"ipv4": 2, "ipv6": 10},
	TypeInetProtocol: {"tcp": 6, "udp": 17},
}

// stateNew is the flag "new" of TypeState (linux/netfilter/nf_conntrack_common.h,
// NF_CT_STATE_BIT). The kernel has it in the machine's own byte order.
const stateNew = 8

// fieldTypes is the data type of each field.
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

// implied maps a field to the match without which the kernel could not tell
// that the packet has it. nft leaves such a match out of its listing when the
// field's own match follows at once.
var implied = map[Field]Match{
	FieldSourceAddress:      {Field: FieldNFProtocol, Value: "ipv4"},
	FieldDestinationAddress: {Field: FieldNFProtocol, Value: "ipv4"},
	FieldSourceIPv6:         {Field: FieldNFProtocol, Value: "ipv6"},
	FieldDestinationIPv6:    {Field: FieldNFProtocol, Value: "ipv6"},
	FieldTCPDestinationPort: {Field: FieldTransportProtocol, Value: "tcp"},
	FieldUDPDestinationPort: {Field: FieldTransportProtocol, Value: "udp"},
}

// encodeValue returns the bytes that the kernel compares for one value, in
// network byte order. A prefix on a byte boundary is its first bytes only.
func encodeValue(t DataType, text string) ([]byte, error) {
	switch t {
	case TypeInterfaceName:
		if text == "" || len(text) >= interfaceNameSize {
			return nil, fmt.Errorf("%w: interface name %q", errValue, text)
		}
		return append([]byte(text), make([]byte, interfaceNameSize-len(text))...), nil
	case TypeNFProtocol, TypeInetProtocol:
		n, ok := protocolNumbers[t][text]
		if !ok {
			return nil, fmt.Errorf("%w: protocol %q", errValue, text)
		}
		return []byte{n}, nil
	case TypeIPv4Address, TypeIPv6Address:
		return encodePrefix(t, text)
	case TypePort:
		n, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("%w: port %q", errValue, text)
		}
		return binary.BigEndian.AppendUint16(nil, uint16(n)), nil
	case TypeState:
		if text != "new" {
			return nil, fmt.Errorf("%w: state %q", errValue, text)
		}
		return binary.NativeEndian.AppendUint32(nil, stateNew), nil
	case TypeMark:
		n, err := strconv.ParseUint(text, 0, 32)
		if err != nil {
			return nil, fmt.Errorf("%w: mark %q", errValue, text)
		}
		return binary.NativeEndian.AppendUint32(nil, uint32(n)), nil
	default:
		return nil, fmt.Errorf("%w: type %q", errValue, t)
	}
}

// markText is a mark as nft spells it.
func markText(mark uint32) string { return fmt.Sprintf("0x%08x", mark) }

// isAddressOf says whether the address is of the type.
func isAddressOf(t DataType, a netip.Addr) bool {
	return t == TypeIPv4Address && a.Is4() || t == TypeIPv6Address && a.Is6() && a.Zone() == ""
}

// encodePrefix returns the bytes of an address or of a prefix whose length is a
// multiple of 8.
func encodePrefix(t DataType, text string) ([]byte, error) {
	if a, err := netip.ParseAddr(text); err == nil && isAddressOf(t, a) {
		return a.AsSlice(), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !isAddressOf(t, p.Addr()) || p != p.Masked() || p.Bits() == 0 || p.Bits()%8 != 0 {
		return nil, fmt.Errorf("%w: %q is no %s and no prefix on a byte boundary", errValue, text, t)
	}
	return p.Addr().AsSlice()[:p.Bits()/8], nil
}

// decodeValue is the inverse of encodeValue.
func decodeValue(t DataType, b []byte) (string, error) {
	switch t {
	case TypeInterfaceName:
		name, _, _ := bytes.Cut(b, []byte{0})
		if len(b) != interfaceNameSize {
			// A shorter comparison is nft's wildcard.
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
		if len(b) == 4 && binary.NativeEndian.Uint32(b) == stateNew {
			return "new", nil
		}
	case TypeMark:
		if len(b) == 4 {
			return markText(binary.NativeEndian.Uint32(b)), nil
		}
	}
	return "", fmt.Errorf("%w: % x is no %s", errValue, b, t)
}

// decodePrefix is the inverse of encodePrefix.
func decodePrefix(t DataType, b []byte) (string, bool) {
	size := int(keySize(t))
	if len(b) == 0 || len(b) > size {
		return "", false
	}
	a, _ := netip.AddrFromSlice(append(bytes.Clone(b), make([]byte, size-len(b))...))
	if len(b) == size {
		return a.String(), true
	}
	return netip.PrefixFrom(a, 8*len(b)).String(), true
}

// keySize is the length in bytes of a set's keys.
func keySize(t DataType) uint32 {
	switch t {
	case TypeIPv4Address, TypeState, TypeMark:
		return 4
	case TypeIPv6Address:
		return 16
	case TypePort:
		return 2
	case TypeInterfaceName:
		return interfaceNameSize
	case TypeNFProtocol, TypeInetProtocol:
		return 1
	default:
		return 0
	}
}
