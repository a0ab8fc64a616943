// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// decodeTrace decodes the payload of a trace message
// (linux/netfilter/nf_tables.h, enum nft_trace_attributes). It ignores unknown
// attributes.
func decodeTrace(data []byte) (Event, error) {
	e := Event{Family: nfnetlink.Family(data)}
	var network, transport []byte
	err := nfnetlink.Decode(data, func(ad *netlink.AttributeDecoder) error {
		for ad.Next() {
			switch ad.Type() {
			case unix.NFTA_TRACE_NETWORK_HEADER:
				network = ad.Bytes()
			case unix.NFTA_TRACE_TRANSPORT_HEADER:
				transport = ad.Bytes()
			default:
				e.decodeAttribute(ad)
			}
		}
		return nil
	})
	if p, ok := parsePacket(network, transport); ok {
		e.Packet = &p
	}
	if e.Kind == EventRule && e.Handle == 0 {
		// Newer kernels report the end of a chain as a rule without a handle.
		e.Kind = EventReturn
	}
	return e, err
}

// decodeAttribute decodes an attribute that is not a header of the packet.
func (e *Event) decodeAttribute(ad *netlink.AttributeDecoder) {
	switch ad.Type() {
	case unix.NFTA_TRACE_ID:
		e.ID = ad.Uint32()
	case unix.NFTA_TRACE_IIF:
		e.Input = ad.Uint32()
	case unix.NFTA_TRACE_TABLE:
		e.Table = ad.String()
	case unix.NFTA_TRACE_CHAIN:
		e.Chain = ad.String()
	case unix.NFTA_TRACE_RULE_HANDLE:
		e.Handle = ad.Uint64()
	case unix.NFTA_TRACE_TYPE:
		e.Kind = EventKind(ad.Uint32())
	case unix.NFTA_TRACE_VERDICT:
		ad.Nested(e.decodeVerdict)
	case unix.NFTA_TRACE_POLICY:
		e.Policy = ad.Uint32()
	}
}

// decodeVerdict decodes enum nft_verdict_attributes.
func (e *Event) decodeVerdict(ad *netlink.AttributeDecoder) error {
	for ad.Next() {
		switch ad.Type() {
		case unix.NFTA_VERDICT_CODE:
			e.Verdict = ad.Int32()
		case unix.NFTA_VERDICT_CHAIN:
			e.Target = ad.String()
		}
	}
	return nil
}

// decodeConntrack decodes the payload of a conntrack message.
func decodeConntrack(t netlink.HeaderType, data []byte) (ConntrackEvent, error) {
	f, err := nfnetlink.DecodeFlow(data)
	e := conntrackEvent(f)
	if t == nfnetlink.Conntrack(nfnetlink.ConntrackDelete) {
		e.Kind = ConntrackGone
	}
	return e, err
}

// conntrackEvent returns an existing entry as an event.
func conntrackEvent(f nfnetlink.Flow) ConntrackEvent {
	return ConntrackEvent{Original: f.Original, Reply: f.Reply, Status: f.Status, TCPState: f.TCPState}
}
