package nftrules

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// DataType is an nftables data type by its name in nft(8), DATA TYPES.
type DataType string

// Data types of the fields and sets.
const (
	TypeInterfaceName DataType = "ifname"
	TypeNFProtocol    DataType = "nf_proto"
	TypeInetProtocol  DataType = "inet_proto"
	TypeIPv4Address   DataType = "ipv4_addr"
	TypePort          DataType = "inet_service"
	TypeState         DataType = "ct_state"
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
	FieldTCPDestinationPort: TypePort,
	FieldUDPDestinationPort: TypePort,
	FieldConntrackState:     TypeState,
}

// implied maps a field to the match without which the kernel could not tell
// that the packet has it. nft leaves such a match out of its listing when the
// field's own match follows at once.
var implied = map[Field]Match{
	FieldSourceAddress:      {Field: FieldNFProtocol, Value: "ipv4"},
	FieldDestinationAddress: {Field: FieldNFProtocol, Value: "ipv4"},
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
	case TypeIPv4Address:
		return encodePrefix(text)
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
	default:
		return nil, fmt.Errorf("%w: type %q", errValue, t)
	}
}

// encodePrefix returns the bytes of an IPv4 address or of a prefix whose length
// is a multiple of 8.
func encodePrefix(text string) ([]byte, error) {
	if a, err := netip.ParseAddr(text); err == nil && a.Is4() {
		return a.AsSlice(), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil || !p.Addr().Is4() || p != p.Masked() || p.Bits() == 0 || p.Bits()%8 != 0 {
		return nil, fmt.Errorf("%w: %q is no IPv4 address and no prefix on a byte boundary", errValue, text)
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
	case TypeIPv4Address:
		if text, ok := decodePrefix(b); ok {
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
	}
	return "", fmt.Errorf("%w: % x is no %s", errValue, b, t)
}

// decodePrefix is the inverse of encodePrefix.
func decodePrefix(b []byte) (string, bool) {
	switch n := len(b); {
	case n == 4:
		return netip.AddrFrom4([4]byte(b)).String(), true
	case n > 0 && n < 4:
		a, _ := netip.AddrFromSlice(append(bytes.Clone(b), make([]byte, 4-n)...))
		return netip.PrefixFrom(a, 8*n).String(), true
	default:
		return "", false
	}
}

// keySize is the length in bytes of a set's keys.
func keySize(t DataType) uint32 {
	switch t {
	case TypeIPv4Address, TypeState:
		return 4
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

// interval is a closed range of set keys of at most 4 bytes.
type interval struct{ first, last uint32 }

// parseElement reads a set element: a value, a prefix, or FIRST-LAST.
func parseElement(t DataType, text string) (interval, error) {
	if t == TypeIPv4Address {
		if p, err := netip.ParsePrefix(text); err == nil && p.Addr().Is4() && p == p.Masked() {
			first := binary.BigEndian.Uint32(p.Addr().AsSlice())
			return interval{first, first | ^uint32(0)>>p.Bits()}, nil
		}
	}
	from, to, isRange := strings.Cut(text, "-")
	first, err := parseKey(t, from)
	if err != nil || !isRange {
		return interval{first, first}, err
	}
	last, err := parseKey(t, to)
	if err == nil && last < first {
		err = fmt.Errorf("%w: range %q", errValue, text)
	}
	return interval{first, last}, err
}

func parseKey(t DataType, text string) (uint32, error) {
	b, err := encodeValue(t, text)
	if err != nil {
		return 0, err
	}
	if len(b) != int(keySize(t)) || len(b) > 4 {
		return 0, fmt.Errorf("%w: %q is no element of type %s", errValue, text, t)
	}
	return keyNumber(b), nil
}

// keyNumber reads a key of at most 4 bytes in network byte order.
func keyNumber(b []byte) uint32 {
	var n uint32
	for _, c := range b {
		n = n<<8 | uint32(c)
	}
	return n
}

// keyBytes is the inverse of keyNumber.
func keyBytes(t DataType, n uint32) []byte {
	return binary.BigEndian.AppendUint32(nil, n)[4-keySize(t):]
}

// formatElement spells a range as nft does: as a value, as a prefix if it is
// one, else as FIRST-LAST.
func formatElement(t DataType, i interval) (string, error) {
	first, err := decodeValue(t, keyBytes(t, i.first))
	if err != nil || i.first == i.last {
		return first, err
	}
	if size := i.last - i.first; t == TypeIPv4Address && size&(size+1) == 0 && i.first&size == 0 {
		bits := 32
		for ; size > 0; size >>= 1 {
			bits--
		}
		return first + "/" + strconv.Itoa(bits), nil
	}
	last, err := decodeValue(t, keyBytes(t, i.last))
	return first + "-" + last, err
}

// keyMax is the greatest key of a type.
func keyMax(t DataType) uint32 {
	return ^uint32(0) >> (32 - 8*keySize(t))
}
