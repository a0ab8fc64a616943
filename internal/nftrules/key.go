// SPDX-License-Identifier: Apache-2.0

package nftrules

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
)

// key is the key of a set as a number of at most 128 bits: an address, a port.
type key struct{ high, low uint64 }

// maxKeySize is the length in bytes of the longest key.
const maxKeySize = 16

// keyNumber reads a key of at most maxKeySize bytes in network byte order.
func keyNumber(b []byte) key {
	var full [maxKeySize]byte
	copy(full[max(0, maxKeySize-len(b)):], b)
	return key{binary.BigEndian.Uint64(full[:8]), binary.BigEndian.Uint64(full[8:])}
}

// keyBytes is the inverse of keyNumber.
func keyBytes(t DataType, k key) []byte {
	full := binary.BigEndian.AppendUint64(nil, k.high)
	return binary.BigEndian.AppendUint64(full, k.low)[maxKeySize-keySize(t):]
}

// keyMax is the greatest key of a type.
func keyMax(t DataType) key {
	return keyNumber([]byte(strings.Repeat("\xff", int(keySize(t)))))
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.high, o.high), cmp.Compare(k.low, o.low))
}

// next is the key after k; the greatest number is followed by 0.
func (k key) next() key {
	low, carry := bits.Add64(k.low, 1, 0)
	return key{k.high + carry, low}
}

// previous is the key before k.
func (k key) previous() key {
	low, borrow := bits.Sub64(k.low, 1, 0)
	return key{k.high - borrow, low}
}

// interval is a closed range of keys.
type interval struct{ first, last key }

// tail is how many of the last bits run from all zero in the first key to all
// one in the last, if the range is one of a prefix.
func (i interval) tail() (int, bool) {
	high, low := i.first.high^i.last.high, i.first.low^i.last.low
	n := bits.Len64(low)
	if high != 0 {
		n = 64 + bits.Len64(high)
	}
	whole := bits.OnesCount64(high)+bits.OnesCount64(low) == n
	return n, whole && i.first.high&high == 0 && i.first.low&low == 0
}

func isAddressType(t DataType) bool { return t == TypeIPv4Address || t == TypeIPv6Address }

// parseElement reads a set element: a value, a prefix, or FIRST-LAST.
func parseElement(t DataType, text string) (interval, error) {
	if p, err := netip.ParsePrefix(text); err == nil && isAddressOf(t, p.Addr()) && p == p.Masked() {
		first, last := keyNumber(p.Addr().AsSlice()), keyMax(t)
		rest := p.Addr().BitLen() - p.Bits()
		if rest <= 64 {
			last = key{first.high, first.low | ^(^uint64(0) << rest)}
		} else {
			last = key{first.high | ^(^uint64(0) << (rest - 64)), last.low}
		}
		return interval{first, last}, nil
	}
	from, to, isRange := strings.Cut(text, "-")
	first, err := parseKey(t, from)
	if err != nil || !isRange {
		return interval{first, first}, err
	}
	last, err := parseKey(t, to)
	if err == nil && last.compare(first) < 0 {
		err = fmt.Errorf("%w: range %q", errValue, text)
	}
	return interval{first, last}, err
}

func parseKey(t DataType, text string) (key, error) {
	if t != TypePort && !isAddressType(t) {
		return key{}, fmt.Errorf("%w: no set has elements of type %s", errValue, t)
	}
	b, err := encodeValue(t, text)
	if err != nil {
		return key{}, err
	}
	if len(b) != int(keySize(t)) {
		return key{}, fmt.Errorf("%w: %q is no element of type %s", errValue, text, t)
	}
	return keyNumber(b), nil
}

// formatElement spells a range as nft does: as a value, as a prefix if it is
// one, else as FIRST-LAST.
func formatElement(t DataType, i interval) (string, error) {
	first, err := decodeValue(t, keyBytes(t, i.first))
	if err != nil || i.first == i.last {
		return first, err
	}
	if tail, ok := i.tail(); ok && isAddressType(t) {
		return first + "/" + strconv.Itoa(8*int(keySize(t))-tail), nil
	}
	last, err := decodeValue(t, keyBytes(t, i.last))
	return first + "-" + last, err
}
