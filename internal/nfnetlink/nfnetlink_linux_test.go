// SPDX-License-Identifier: Apache-2.0

package nfnetlink

import (
	"encoding/hex"
	"errors"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// addresses compares addresses by value.
var addresses = cmpopts.EquateComparable(netip.AddrPort{})

// encodeTuple encodes a tuple like the kernel.
func encodeTuple(attribute uint16, t Tuple) Attributes {
	return func(ae *netlink.AttributeEncoder) error {
		ae.Nested(attribute, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(ctaTupleIP, func(ae *netlink.AttributeEncoder) error {
				source, destination := uint16(ctaIPv4Source), uint16(ctaIPv4Destination)
				if t.Source.Addr().Is6() {
					source, destination = ctaIPv6Source, ctaIPv6Destination
				}
				ae.Bytes(source, t.Source.Addr().AsSlice())
				ae.Bytes(destination, t.Destination.Addr().AsSlice())
				return nil
			})
			ae.Nested(ctaTupleProto, func(ae *netlink.AttributeEncoder) error {
				ae.Uint8(ctaProtoNumber, t.Protocol)
				if t.Protocol == unix.IPPROTO_ICMP {
					ae.Uint16(ctaProtoICMPID, t.Source.Port())
					return nil
				}
				ae.Uint16(ctaProtoSourcePort, t.Source.Port())
				ae.Uint16(ctaProtoDestinationPort, t.Destination.Port())
				return nil
			})
			return nil
		})
		return nil
	}
}

// encodeFlow encodes the payload of a conntrack message like the kernel.
func encodeFlow(t testing.TB, f Flow, id uint32) []byte {
	t.Helper()
	m, err := Request(Conntrack(ConntrackNew), 0, unix.AF_INET, func(ae *netlink.AttributeEncoder) error {
		_ = encodeTuple(ctaTupleOriginal, f.Original)(ae)
		_ = encodeTuple(ctaTupleReply, f.Reply)(ae)
		ae.Uint32(ctaStatus, f.Status)
		ae.Uint32(ctaMark, f.Mark)
		ae.Uint32(ctaID, id)
		if f.Zone != 0 {
			ae.Uint16(ctaZone, f.Zone)
		}
		if f.TCPState == 0 {
			return nil
		}
		ae.Nested(ctaProtoInfo, func(ae *netlink.AttributeEncoder) error {
			ae.Nested(ctaProtoInfoTCP, func(ae *netlink.AttributeEncoder) error {
				ae.Uint8(ctaProtoInfoTCPState, f.TCPState)
				return nil
			})
			return nil
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return m.Data
}

func tuple(protocol uint8, source, destination string) Tuple {
	return Tuple{Protocol: protocol, Source: netip.MustParseAddrPort(source), Destination: netip.MustParseAddrPort(destination)}
}

func TestDecodeFlow(t *testing.T) {
	for name, want := range map[string]Flow{
		"TCP": {
			Original: tuple(unix.IPPROTO_TCP, "10.0.2.2:1", "203.0.113.9:443"),
			Reply:    tuple(unix.IPPROTO_TCP, "10.0.2.1:15001", "10.0.2.2:1"),
			Status:   2, TCPState: 3, Mark: 0x100001, Zone: 2,
		},
		"UDP over IPv6": {
			Original: tuple(unix.IPPROTO_UDP, "[fd10::2]:1", "[2001:db8::1]:53"),
			Reply:    tuple(unix.IPPROTO_UDP, "[2001:db8::1]:53", "[2001:db8::2]:1"),
		},
		"ICMP echo": {
			Original: tuple(unix.IPPROTO_ICMP, "10.0.2.2:7", "203.0.113.9:7"),
			Reply:    tuple(unix.IPPROTO_ICMP, "203.0.113.9:7", "10.0.2.2:7"),
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := DecodeFlow(encodeFlow(t, want, 0x01020304))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got, addresses, cmpopts.IgnoreFields(Flow{}, "Identity")); diff != "" {
				t.Errorf("flow (-want +got):\n%s", diff)
			}
			checkIdentity(t, want, got.Identity)
		})
	}
}

// checkIdentity checks that a request with the identity of an entry contains
// the tuple, the zone and the ID of the entry.
func checkIdentity(t *testing.T, want Flow, identity []netlink.Attribute) {
	t.Helper()
	m, err := Request(Conntrack(ConntrackDelete), 0, unix.AF_INET, func(ae *netlink.AttributeEncoder) error {
		for _, a := range identity {
			ae.Bytes(a.Type, a.Data)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeFlow(m.Data)
	if err != nil {
		t.Fatal(err)
	}
	id := identity[len(identity)-1]
	if want.Zone != 0 {
		id = identity[len(identity)-2]
	}
	if got.Original != want.Original || got.Zone != want.Zone || id.Type != ctaID || hex.EncodeToString(id.Data) != "01020304" {
		t.Errorf("identity is %+v, want tuple, zone and ID of %+v", identity, want)
	}
}

func TestDecodeRejects(t *testing.T) {
	for name, b := range map[string][]byte{
		"empty payload":            nil,
		"truncated header":         {1, 0, 0},
		"attribute too long":       {1, 0, 0, 0, 0xff, 0, 1, 0},
		"attribute too short":      {1, 0, 0, 0, 1, 0, 1, 0},
		"number of incorrect size": {1, 0, 0, 0, 6, 0, ctaStatus, 0, 1, 2, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := DecodeFlow(b); !errors.Is(err, ErrMessage) {
				t.Errorf("error %v, want ErrMessage", err)
			}
		})
	}
}

// FuzzDecodeFlow decodes arbitrary payloads. A decoded tuple must be encoded and
// decoded to the same tuple.
func FuzzDecodeFlow(f *testing.F) {
	f.Add(encodeFlow(f, Flow{
		Original: tuple(unix.IPPROTO_TCP, "10.0.2.2:1", "203.0.113.9:443"),
		Reply:    tuple(unix.IPPROTO_TCP, "10.0.2.1:15001", "10.0.2.2:1"),
		TCPState: 3, Zone: 2,
	}, 1))
	f.Fuzz(func(t *testing.T, payload []byte) {
		flow, err := DecodeFlow(payload)
		if err != nil {
			if !errors.Is(err, ErrMessage) {
				t.Errorf("error %v does not wrap ErrMessage", err)
			}
			return
		}
		if flow.Original.Protocol == unix.IPPROTO_ICMP || !flow.Original.Source.Addr().IsValid() ||
			flow.Original.Source.Addr().Is6() != flow.Original.Destination.Addr().Is6() {
			return
		}
		again, err := DecodeFlow(encodeFlow(t, Flow{Original: flow.Original, Reply: flow.Original}, 1))
		if err != nil || again.Original != flow.Original || again.Reply != flow.Original {
			t.Errorf("%+v was encoded and decoded to %+v, %v", flow.Original, again, err)
		}
	})
}

func TestBatchWithError(t *testing.T) {
	failure := errors.New("no value")
	var b Batch
	b.Add(unix.NFT_MSG_NEWTABLE, netlink.Create, "table t", None)
	b.Add(unix.NFT_MSG_NEWSET, netlink.Create, "set s", func(*netlink.AttributeEncoder) error { return failure })
	if len(b.Messages()) != 1 {
		t.Errorf("the batch has %d messages, want 1", len(b.Messages()))
	}
	if err := b.Commit(nil); !errors.Is(err, failure) {
		t.Errorf("error %v, want the error of the attributes before anything is sent", err)
	}
}

// TestRejected checks that an error names the object of the rejected message.
func TestRejected(t *testing.T) {
	b := Batch{objects: []string{"table t", "set s"}}
	sent := make([]netlink.Message, 4)
	for i := range sent {
		sent[i].Header.Sequence = uint32(i + 10)
	}
	for name, tc := range map[string]struct {
		err  error
		want string
	}{
		"begin":       {&netlink.OpError{Err: unix.EPERM, Sequence: 10}, "batch: operation not permitted"},
		"first":       {&netlink.OpError{Err: unix.EPERM, Sequence: 11}, "table t: operation not permitted"},
		"explanation": {&netlink.OpError{Err: unix.EINVAL, Sequence: 12, Message: "key length"}, "set s: key length: invalid argument"},
		"socket":      {unix.ENOBUFS, "read the reply to the batch: no buffer space available"},
	} {
		t.Run(name, func(t *testing.T) {
			if got := b.rejected(tc.err, sent); got.Error() != tc.want {
				t.Errorf("error %q, want %q", got, tc.want)
			}
		})
	}
}
