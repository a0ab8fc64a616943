// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"
)

// value returns the text of bytes that are compared with a field. Fields of
// packets are in network byte order, other fields are in host byte order.
func value(field string, b []byte) string {
	switch {
	case strings.HasSuffix(field, "ifname"):
		name, _, whole := strings.Cut(string(b), "\x00")
		if !whole {
			name += "*"
		}
		return fmt.Sprintf("%q", name)
	case strings.HasSuffix(field, "addr"):
		return addressText(field, b)
	case strings.HasSuffix(field, "port") && len(b) == 2:
		return fmt.Sprint(binary.BigEndian.Uint16(b))
	case len(b) == 1:
		return byteText(field, b[0])
	case len(b) == 2:
		return fmt.Sprint(binary.NativeEndian.Uint16(b))
	case len(b) == 4:
		return fmt.Sprint(binary.NativeEndian.Uint32(b))
	default:
		return fmt.Sprintf("0x%x", b)
	}
}

func byteText(field string, b byte) string {
	switch {
	case field == "meta l4proto":
		return protocolText(b)
	case field == "meta nfproto" && b == familyIPv4:
		return "ipv4"
	case field == "meta nfproto" && b == familyIPv6:
		return "ipv6"
	default:
		return fmt.Sprint(b)
	}
}

func protocolText(number byte) string {
	if name := protocolName(number); name != "other" {
		return name
	}
	return fmt.Sprint(number)
}

// addressText returns the text of an address, or of a prefix if fewer bytes are
// compared.
func addressText(field string, b []byte) string {
	size := 4
	if strings.HasPrefix(field, "ip6") {
		size = 16
	}
	if len(b) > size {
		b = b[:size]
	}
	a, _ := netip.AddrFromSlice(append(append([]byte{}, b...), make([]byte, size-len(b))...))
	if len(b) < size {
		return fmt.Sprintf("%s/%d", a, 8*len(b))
	}
	return a.String()
}

// matchText returns the text of an iptables match without an nftables
// equivalent.
func matchText(e *expr.Match) string {
	info, ok := e.Info.(*xt.Unknown)
	if e.Name != "owner" || !ok || len(*info) < 18 {
		return "xt match " + e.Name
	}
	// linux/netfilter/xt_owner.h, struct xt_owner_match_info.
	b := []byte(*info)
	for bit, field := range map[byte]struct {
		name   string
		offset int
	}{1: {"meta skuid", 0}, 2: {"meta skgid", 8}} {
		if b[16]&bit == 0 {
			continue
		}
		op := expr.CmpOpEq
		if b[17]&bit != 0 {
			op = expr.CmpOpNeq
		}
		return field.name + " " + not(op) + value(field.name, b[field.offset:field.offset+4])
	}
	return "xt match owner"
}

// targetText returns the text of an iptables target without an nftables
// equivalent.
func targetText(e *expr.Target) string {
	var port uint16
	switch info := e.Info.(type) {
	case *xt.NatIPv4MultiRangeCompat:
		if len(*info) > 0 {
			port = (*info)[0].MinPort
		}
	case *xt.NatRange:
		port = info.MinPort
	}
	if e.Name == "REDIRECT" && port != 0 {
		return fmt.Sprintf("redirect to :%d", port)
	}
	return "xt target " + e.Name
}
