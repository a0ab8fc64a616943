// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nft"
)

// decodeSet decodes a set without its elements, and the name of its table.
func decodeSet(ad *netlink.AttributeDecoder) (table string, s nft.Set) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_SET_TABLE:
			table = ad.String()
		case unix.NFTA_SET_NAME:
			s.Name = ad.String()
		case unix.NFTA_SET_KEY_TYPE:
			s.Type = typeOf(ad.Uint32())
		case unix.NFTA_SET_FLAGS:
			s.Flags = flagNames(ad.Uint32(), setFlags)
		}
	}
	return table, s
}

// Names of flags in nft, from the lowest bit (linux/netfilter/nf_tables.h, enum
// nft_table_flags and enum nft_set_flags).
var (
	tableFlags = []string{"dormant", "owner", "persist"}
	setFlags   = []string{"anonymous", "constant", nft.FlagInterval, "map", "timeout", "dynamic", "object", "concatenation"}
)

// flagNames returns the names of the bits that are set.
func flagNames(bits uint32, names []string) []string {
	var out []string
	for i := range 32 {
		switch {
		case bits&(1<<i) == 0:
		case i < len(names):
			out = append(out, names[i])
		default:
			out = append(out, fmt.Sprintf("%#x", 1<<i))
		}
	}
	return out
}

func typeOf(number uint32) nft.DataType {
	for t, n := range setTypes {
		if n == number {
			return t
		}
	}
	return nft.DataType(fmt.Sprintf("type %d", number))
}

// decodeElements decodes one message of a dump of elements.
func decodeElements(ad *netlink.AttributeDecoder) []setKey {
	var keys []setKey
	for ad.Next() {
		if ad.Type() != unix.NFTA_SET_ELEM_LIST_ELEMENTS {
			continue
		}
		ad.Nested(func(list *netlink.AttributeDecoder) error {
			for list.Next() {
				list.Nested(func(elem *netlink.AttributeDecoder) error {
					keys = append(keys, decodeElement(elem))
					return nil
				})
			}
			return nil
		})
	}
	return keys
}

func decodeElement(elem *netlink.AttributeDecoder) setKey {
	var k setKey
	for elem.Next() {
		switch elem.Type() {
		case unix.NFTA_SET_ELEM_FLAGS:
			k.end = elem.Uint32()&unix.NFT_SET_ELEM_INTERVAL_END != 0
		case unix.NFTA_SET_ELEM_KEY:
			elem.Nested(func(key *netlink.AttributeDecoder) error {
				for key.Next() {
					if key.Type() == unix.NFTA_DATA_VALUE {
						k.key = nft.KeyFromBytes(key.Bytes())
					}
				}
				return nil
			})
		}
	}
	return k
}

// elementTextsOf is the inverse of setKeys. The keys can be in any order.
func elementTextsOf(s nft.Set, keys []setKey) []string {
	if s.Type != nft.TypePort && !s.Type.IsAddress() {
		return nil
	}
	slices.SortFunc(keys, func(a, b setKey) int {
		if a.key == b.key && a.end != b.end {
			// The end of a range precedes the start of an adjacent range.
			if a.end {
				return -1
			}
			return 1
		}
		return a.key.Compare(b.key)
	})
	var out []string
	put := func(first, last nft.Key) {
		text, err := nft.FormatElement(s.Type, nft.Interval{First: first, Last: last})
		if err != nil {
			text = fmt.Sprintf("%x%016x", first.High, first.Low)
		}
		out = append(out, text)
	}
	open, first := false, nft.Key{}
	for _, k := range keys {
		if open {
			put(first, k.key.Previous())
		}
		open, first = !k.end && s.IsInterval(), k.key
		if !s.IsInterval() {
			put(k.key, k.key)
		}
	}
	if open {
		put(first, nft.MaxKey(s.Type))
	}
	return out
}

// decodeChain decodes a chain without its rules, and the name of its table.
func decodeChain(ad *netlink.AttributeDecoder) (table string, c nft.Chain) {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_CHAIN_TABLE:
			table = ad.String()
		case unix.NFTA_CHAIN_NAME:
			c.Name = ad.String()
		case unix.NFTA_CHAIN_TYPE:
			c.Type = ad.String()
		case unix.NFTA_CHAIN_POLICY:
			c.Policy = policyName(ad.Uint32())
		case unix.NFTA_CHAIN_HOOK:
			ad.Nested(func(hook *netlink.AttributeDecoder) error {
				for hook.Next() {
					switch hook.Type() {
					case unix.NFTA_HOOK_HOOKNUM:
						c.Hook = hookName(hook.Uint32())
					case unix.NFTA_HOOK_PRIORITY:
						c.Priority = hook.Int32()
					}
				}
				return nil
			})
		}
	}
	return table, c
}

func policyName(number uint32) string {
	for name, n := range policyNumbers {
		if n == number {
			return name
		}
	}
	return strconv.Itoa(int(number))
}

func hookName(number uint32) nft.Hook {
	for name, n := range hookNumbers {
		if n == number {
			return name
		}
	}
	return nft.Hook(strconv.Itoa(int(number)))
}

// comment returns the comment in the userdata of a rule. Any program may have
// written the userdata.
func comment(data []byte) string {
	for len(data) >= 2 {
		kind, length := data[0], int(data[1])
		if len(data) < 2+length {
			return ""
		}
		if kind == userdataComment {
			return string(bytes.TrimRight(data[2:2+length], "\x00"))
		}
		data = data[2+length:]
	}
	return ""
}
