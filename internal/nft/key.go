// SPDX-License-Identifier: Apache-2.0

package nft

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// Key is the key of a set, for example an address or a port, as a number of at
// most 128 bits.
type Key struct{ High, Low uint64 }

// maxKeySize is the length of the longest key in bytes.
const maxKeySize = 16

// KeyFromBytes decodes a key of at most maxKeySize bytes in network byte order.
func KeyFromBytes(b []byte) Key {
	var full [maxKeySize]byte
	copy(full[max(0, maxKeySize-len(b)):], b)
	return Key{binary.BigEndian.Uint64(full[:8]), binary.BigEndian.Uint64(full[8:])}
}

// Bytes is the inverse of KeyFromBytes for a key of type t.
func (k Key) Bytes(t DataType) []byte {
	full := binary.BigEndian.AppendUint64(nil, k.High)
	return binary.BigEndian.AppendUint64(full, k.Low)[maxKeySize-t.Size():]
}

// MaxKey returns the greatest key of a type.
func MaxKey(t DataType) Key {
	return KeyFromBytes([]byte(strings.Repeat("\xff", int(t.Size()))))
}

// Compare compares keys by number.
func (k Key) Compare(o Key) int {
	return cmp.Or(cmp.Compare(k.High, o.High), cmp.Compare(k.Low, o.Low))
}

// Next returns the key after k. The key after the greatest number is 0.
func (k Key) Next() Key {
	low, carry := bits.Add64(k.Low, 1, 0)
	return Key{k.High + carry, low}
}

// Previous returns the key before k.
func (k Key) Previous() Key {
	low, borrow := bits.Sub64(k.Low, 1, 0)
	return Key{k.High - borrow, low}
}

// Interval is a closed range of keys.
type Interval struct{ First, Last Key }

// tail returns the number of trailing bits that are all zero in the first key
// and all one in the last key, if the range is a prefix.
func (i Interval) tail() (int, bool) {
	high, low := i.First.High^i.Last.High, i.First.Low^i.Last.Low
	n := bits.Len64(low)
	if high != 0 {
		n = 64 + bits.Len64(high)
	}
	whole := bits.OnesCount64(high)+bits.OnesCount64(low) == n
	return n, whole && i.First.High&high == 0 && i.First.Low&low == 0
}

// IsAddress reports whether the type is an IP address.
func (t DataType) IsAddress() bool { return t == TypeIPv4Address || t == TypeIPv6Address }

// ParseElement parses a set element: a value, a prefix, or FIRST-LAST.
func ParseElement(t DataType, text string) (Interval, error) {
	if p, err := netip.ParsePrefix(text); err == nil && IsAddressOf(t, p.Addr()) && p == p.Masked() {
		first, last := KeyFromBytes(p.Addr().AsSlice()), MaxKey(t)
		rest := p.Addr().BitLen() - p.Bits()
		if rest <= 64 {
			last = Key{first.High, first.Low | ^(^uint64(0) << rest)}
		} else {
			last = Key{first.High | ^(^uint64(0) << (rest - 64)), last.Low}
		}
		return Interval{first, last}, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	first, err := parseKey(t, from)
	if err != nil || !isRange {
		return Interval{first, first}, err
	}
	last, err := parseKey(t, to)
	if err == nil && last.Compare(first) < 0 {
		err = fmt.Errorf("%w: range %q", ErrValue, text)
	}
	return Interval{first, last}, err
}

func parseKey(t DataType, text string) (Key, error) {
	if t != TypePort && !t.IsAddress() {
		return Key{}, fmt.Errorf("%w: sets of type %s are not supported", ErrValue, t)
	}
	b, err := EncodeValue(t, text)
	if err != nil {
		return Key{}, err
	}
	if len(b) != int(t.Size()) {
		return Key{}, fmt.Errorf("%w: %q is not an element of type %s", ErrValue, text, t)
	}
	return KeyFromBytes(b), nil
}

// FormatElement formats a range like nft: as a value, as a prefix if possible,
// otherwise as FIRST-LAST.
func FormatElement(t DataType, i Interval) (string, error) {
	first, err := DecodeValue(t, i.First.Bytes(t))
	if err != nil || i.First == i.Last {
		return first, err
	}
	if tail, ok := i.tail(); ok && t.IsAddress() {
		return first + "/" + strconv.Itoa(8*int(t.Size())-tail), nil
	}
	last, err := DecodeValue(t, i.Last.Bytes(t))
	return first + "-" + last, err
}
