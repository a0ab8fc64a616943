// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/binary"
	"net/netip"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// ownRule is a rule of the trace's table.
type ownRule struct {
	chain string
	role  Role
	exprs []expr.Any
}

// Rate limits of the kernel in packets per second. Packets above the limits are
// not traced.
const (
	flowRate  = 20
	proxyRate = 50
)

// register is the register of all expressions.
const register = unix.NFT_REG_1

// ownRules returns the rules for a request whose defaults are set.
func ownRules(r Request) []ownRule {
	var out []ownRule
	for _, protocol := range protocols(r.Flow.Protocol) {
		flow := flowMatch(r.Flow, protocol)
		if r.Flow.From != FromPod {
			for _, name := range interfaces(r) {
				out = append(out, ownRule{chainPrerouting, RoleFlow, mark(flowRate, interfaceMatch(name), flow)})
			}
		}
		if r.Flow.From == FromPod || r.Flow.From == FromAny {
			out = append(out, ownRule{chainOutput, RoleFlow, mark(flowRate, flow)})
		}
	}
	if r.Flow.Protocol != ProtocolTCP && r.Flow.Protocol != ProtocolAny {
		return out // Proxies carry only TCP.
	}
	// The second leg has the destination of the first leg, or a destination
	// that only the proxy knows.
	to := Flow{Destination: r.Flow.Destination, DestinationPort: r.Flow.DestinationPort}
	for _, key := range []expr.MetaKey{expr.MetaKeySKUID, expr.MetaKeySKGID} {
		out = append(out,
			ownRule{chainOutput, RoleProxy, mark(proxyRate, proxyMatch(key, r.Proxy.UID), flowMatch(to, numberTCP))},
			ownRule{chainOutput, RoleProxy, mark(proxyRate, proxyMatch(key, r.Proxy.UID), flowMatch(Flow{}, numberTCP))})
	}
	return out
}

func protocols(p Protocol) []uint8 {
	switch p {
	case ProtocolTCP:
		return []uint8{numberTCP}
	case ProtocolUDP:
		return []uint8{numberUDP}
	case ProtocolICMP:
		return []uint8{numberICMP}
	case ProtocolICMPv6:
		return []uint8{numberICMPv6}
	case ProtocolAny:
		fallthrough
	default:
		return []uint8{numberTCP, numberUDP}
	}
}

// interfaces returns the interfaces through which the flow can enter.
func interfaces(r Request) []string {
	switch r.Flow.From {
	case FromGuest:
		return []string{r.Bridge}
	case FromOutside:
		return []string{r.PodInterface}
	case FromAny, FromPod:
		fallthrough
	default:
		return []string{r.Bridge, r.PodInterface}
	}
}

// mark returns a rule that enables tracing for packets that match.
func mark(rate uint64, matches ...[]expr.Any) []expr.Any {
	var out []expr.Any
	for _, m := range matches {
		out = append(out, m...)
	}
	return append(out,
		&expr.Limit{Type: expr.LimitTypePkts, Rate: rate, Unit: expr.LimitTimeSecond, Burst: uint32(rate)}, //nolint:gosec // Rates are small constants.
		&expr.Immediate{Register: register, Data: []byte{1}},
		&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: register})
}

func equal(load expr.Any, data []byte) []expr.Any {
	return []expr.Any{load, &expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: data}}
}

// interfaceMatch compares the name as a string, so the interface does not have
// to exist yet.
func interfaceMatch(name string) []expr.Any {
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, name)
	return equal(&expr.Meta{Key: expr.MetaKeyIIFNAME, Register: register}, data)
}

// proxyMatch matches the user or the group that created the socket.
func proxyMatch(key expr.MetaKey, id uint32) []expr.Any {
	return equal(&expr.Meta{Key: key, Register: register}, binary.NativeEndian.AppendUint32(nil, id))
}

// flowMatch matches first packets. For TCP these are packets with SYN and
// without FIN, RST and ACK (RFC 9293).
func flowMatch(f Flow, protocol uint8) []expr.Any {
	out := append(addressMatch(f.Source, 12, 8), addressMatch(f.Destination, 16, 24)...)
	out = append(out, equal(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: register}, []byte{protocol})...)
	if protocol == numberTCP {
		const finSynRstAck, syn = 0x17, 0x02
		out = append(out,
			&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: 13, Len: 1},
			&expr.Bitwise{SourceRegister: register, DestRegister: register, Len: 1, Mask: []byte{finSynRstAck}, Xor: []byte{0}},
			&expr.Cmp{Op: expr.CmpOpEq, Register: register, Data: []byte{syn}})
	}
	return append(append(out, portMatch(f.SourcePort, 0)...), portMatch(f.DestinationPort, 2)...)
}

func portMatch(port uint16, offset uint32) []expr.Any {
	if port == 0 {
		return nil
	}
	return equal(&expr.Payload{DestRegister: register, Base: expr.PayloadBaseTransportHeader, Offset: offset, Len: 2},
		binary.BigEndian.AppendUint16(nil, port))
}

// addressMatch compares the address at the offset of IPv4 (RFC 791) or IPv6
// (RFC 8200). The text has been validated. An empty text matches all addresses.
func addressMatch(text string, offset4, offset6 uint32) []expr.Any {
	a, err := netip.ParseAddr(text)
	if err != nil {
		return nil
	}
	a = a.Unmap()
	family, offset, size := byte(familyIPv4), offset4, uint32(4)
	if a.Is6() {
		family, offset, size = familyIPv6, offset6, 16
	}
	return append(
		equal(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: register}, []byte{family}),
		equal(&expr.Payload{DestRegister: register, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size}, a.AsSlice())...)
}
