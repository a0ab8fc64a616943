// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/nfnetlink"
)

// Payloads of messages that Linux 6.18 sent for a SYN to 127.0.0.1:77.
const (
	// traceContinue is a rule with headers, traceEnd the end of its chain as
	// reported by newer kernels, tracePolicy the policy after it, and traceDrop
	// a rule that dropped, with the conntrack state.
	traceContinue = "0100000008000f0000000002080004000000000308000600fe650f7d060002006f00000006000100740000000c00030000000000000000030c00050008000100ffffffff08000c000000000106000d0003040000180008004500003c5ae740004006e1d27f0000017f00000118000900ae62004dfa5327cb00000000a002ffd7fe300000"
	traceEnd      = "0100000008000f0000000002080004000000000308000600fe650f7d060002006f00000006000100740000000c00050008000100ffffffff"
	tracePolicy   = "0100000008000f0000000002080004000000000108000600fe650f7d060002006f00000006000100740000000800100000000001"
	traceDrop     = "0100000008000f0000000002080004000000000308000600fe650f7d060002006e00000006000100740000000c00030000000000000000040c000500080001000000000008000c000000000106000d0003040000180008004500003c5ae740004006e1d27f0000017f00000118000900ae62004dfa5327cb00000000a002ffd7fe300000080015000000000805001300000000000800120038acc38a0800140000000100"
)

func unhex(t testing.TB, text string) []byte {
	t.Helper()
	b, err := hex.DecodeString(text)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDecodeTrace(t *testing.T) {
	packet := &Packet{
		Tuple: tuple(numberTCP, endpoint("127.0.0.1:44642"), endpoint("127.0.0.1:77")),
		ID:    0x5ae7, Sequence: 0xfa5327cb, Length: 60,
	}
	const id = 0xfe650f7d
	for name, tc := range map[string]struct {
		text string
		want Event
	}{
		"rule":         {traceContinue, Event{ID: id, Family: familyInet, Table: "t", Chain: "o", Handle: 3, Kind: EventRule, Verdict: verdictContinue, Packet: packet}},
		"end of chain": {traceEnd, Event{ID: id, Family: familyInet, Table: "t", Chain: "o", Kind: EventReturn, Verdict: verdictContinue}},
		"policy":       {tracePolicy, Event{ID: id, Family: familyInet, Table: "t", Chain: "o", Kind: EventPolicy, Policy: verdictAccept}},
		"drop":         {traceDrop, Event{ID: id, Family: familyInet, Table: "t", Chain: "n", Handle: 4, Kind: EventRule, Verdict: verdictDrop, Packet: packet}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := decodeTrace(unhex(t, tc.text))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got, addresses); diff != "" {
				t.Errorf("event (-want +got):\n%s", diff)
			}
		})
	}
}

// conntrackNew is the payload of a message about an established connection.
const conntrackNew = "020000003400018014000180080001000a00020208000200cb0071091c000280050001000600000006000200000100000600030001bb00003400028014000180080001000a000201080002000a0002021c0002800500010006000000060002003a99000006000300000100000800030000000002080008000000000008000c0000000007100004800c0001800500010003000000"

func TestDecodeConntrack(t *testing.T) {
	want := ConntrackEvent{
		Original: nfnetlink.Tuple{Protocol: numberTCP, Source: endpoint("10.0.2.2:1"), Destination: endpoint("203.0.113.9:443")},
		Reply:    nfnetlink.Tuple{Protocol: numberTCP, Source: endpoint("10.0.2.1:15001"), Destination: endpoint("10.0.2.2:1")},
		Status:   statusSeenReply, TCPState: 3,
	}
	for message, kind := range map[uint16]ConntrackKind{nfnetlink.ConntrackNew: ConntrackSeen, nfnetlink.ConntrackDelete: ConntrackGone} {
		got, err := decodeConntrack(nfnetlink.Conntrack(message), unhex(t, conntrackNew))
		if err != nil {
			t.Fatal(err)
		}
		want.Kind = kind
		if diff := cmp.Diff(want, got, addresses); diff != "" {
			t.Errorf("event of message %d (-want +got):\n%s", message, diff)
		}
	}
}

func TestDecodeRejects(t *testing.T) {
	for name, b := range map[string][]byte{
		"nothing":             nil,
		"header cut short":    {1, 0, 0},
		"attribute too long":  {1, 0, 0, 0, 0xff, 0, 1, 0},
		"attribute too short": {1, 0, 0, 0, 1, 0, 1, 0},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := decodeTrace(b); !errors.Is(err, nfnetlink.ErrMessage) {
				t.Errorf("trace: error %v", err)
			}
			if _, err := decodeConntrack(nfnetlink.Conntrack(nfnetlink.ConntrackNew), b); !errors.Is(err, nfnetlink.ErrMessage) {
				t.Errorf("conntrack: error %v", err)
			}
		})
	}
	t.Run("number of another size", func(t *testing.T) {
		if _, err := decodeTrace([]byte{1, 0, 0, 0, 6, 0, unix.NFTA_TRACE_ID, 0, 1, 2, 0, 0}); !errors.Is(err, nfnetlink.ErrMessage) {
			t.Errorf("error %v", err)
		}
	})
}

// FuzzDecode decodes arbitrary messages and processes the events, which must
// not cause a panic.
func FuzzDecode(f *testing.F) {
	for _, text := range []string{traceContinue, traceEnd, tracePolicy, traceDrop} {
		f.Add(unhex(f, text), false)
	}
	f.Add(unhex(f, conntrackNew), true)
	f.Fuzz(func(t *testing.T, b []byte, conntrack bool) {
		c := NewCollector(Request{}, Namespace{Roles: map[uint64]Role{3: RoleFlow}})
		own := decodeOwn(t)
		c.Trace(start, own)
		if conntrack {
			e, err := decodeConntrack(nfnetlink.Conntrack(nfnetlink.ConntrackNew), b)
			if err != nil && !errors.Is(err, nfnetlink.ErrMessage) {
				t.Errorf("error %v does not wrap nfnetlink.ErrMessage", err)
			}
			c.Conntrack(start, e)
		} else {
			e, err := decodeTrace(b)
			if err != nil && !errors.Is(err, nfnetlink.ErrMessage) {
				t.Errorf("error %v does not wrap nfnetlink.ErrMessage", err)
			}
			e.ID = own.ID
			c.Trace(start, e)
		}
		r := Result{Version: ResultVersion, Flows: c.Report()}
		if r.Text() == "" {
			t.Error("no words")
		}
		if _, err := r.Encode(0); err != nil {
			t.Error(err)
		}
	})
}

// decodeOwn is a packet in the trace's table.
func decodeOwn(t testing.TB) Event {
	t.Helper()
	e, err := decodeTrace(unhex(t, traceContinue))
	if err != nil {
		t.Fatal(err)
	}
	e.Table, e.Chain = TableName, chainPrerouting
	return e
}
