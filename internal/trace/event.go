// SPDX-License-Identifier: Apache-2.0

package trace

import "meshvm.io/meshvm/internal/nfnetlink"

// EventKind is the kind of a trace message.
type EventKind uint32

// Kinds of trace messages (linux/netfilter/nf_tables.h, enum nft_trace_types).
const (
	// EventPolicy is the end of a base chain without a decision of a rule.
	EventPolicy EventKind = 1
	// EventReturn is the end of a chain that was the target of a jump.
	EventReturn EventKind = 2
	// EventRule is a rule that matched.
	EventRule EventKind = 3
)

// Verdicts (linux/netfilter.h, linux/netfilter/nf_tables.h, enum nft_verdicts).
const (
	verdictContinue = -1
	verdictBreak    = -2
	verdictJump     = -3
	verdictGoto     = -4
	verdictReturn   = -5
	verdictDrop     = 0
	verdictAccept   = 1
	verdictStolen   = 2
	verdictQueue    = 3
	verdictMask     = 0xff
)

// Event is a decoded trace message.
type Event struct {
	// ID identifies the messages of one packet in one base chain.
	ID uint32
	// Family is the nftables family of the table (linux/netfilter.h,
	// NFPROTO_*).
	Family uint8
	// Table and Chain are the current position of the packet.
	Table, Chain string
	// Handle is the handle of the rule, for EventRule.
	Handle uint64
	// Kind is the kind of the message.
	Kind EventKind
	// Verdict is the verdict of the rule.
	Verdict int32
	// Target is the target of a jump or goto.
	Target string
	// Policy is the verdict of the base chain, for EventPolicy.
	Policy uint32
	// Input is the index of the input interface, or 0.
	Input uint32
	// Packet contains the headers, which are only in the first message of a
	// packet in a base chain.
	Packet *Packet
}

// ends reports whether the packet is not processed any further after this event
// because it was dropped or stolen.
func (e Event) ends() bool {
	switch e.Kind {
	case EventRule:
		v := e.Verdict
		return v >= 0 && (v&verdictMask == verdictDrop || v&verdictMask == verdictStolen || v&verdictMask == verdictQueue)
	case EventPolicy:
		return e.Policy == verdictDrop
	case EventReturn:
		return false
	default:
		return false
	}
}

// verdictWords returns the verdict in nft's notation.
func (e Event) verdictWords() string {
	if e.Kind == EventPolicy {
		if e.Policy == verdictDrop {
			return "policy drop"
		}
		return "policy accept"
	}
	switch v := e.Verdict; {
	case v == verdictJump:
		return "jump " + e.Target
	case v == verdictGoto:
		return "goto " + e.Target
	case v == verdictReturn:
		return "return"
	case v == verdictContinue || v == verdictBreak:
		return "continue"
	case v < 0:
		return "unknown"
	case v&verdictMask == verdictDrop:
		return "drop"
	case v&verdictMask == verdictAccept:
		return "accept"
	case v&verdictMask == verdictStolen:
		return "stolen"
	case v&verdictMask == verdictQueue:
		return "queue"
	default:
		return "unknown"
	}
}

// ConntrackKind is the kind of a conntrack event.
type ConntrackKind uint8

// Kinds of conntrack events (linux/netfilter/nfnetlink_conntrack.h,
// enum cntl_msg_types).
const (
	// ConntrackSeen is an entry that is new, updated or part of a dump.
	ConntrackSeen ConntrackKind = iota
	// ConntrackGone is an entry that was deleted.
	ConntrackGone
)

// Bits of the status of an entry (linux/netfilter/nf_conntrack_common.h, enum
// ip_conntrack_status).
const (
	statusSeenReply = 1 << 1
	statusAssured   = 1 << 2
)

// tcpClose is the state of a connection that was reset
// (linux/netfilter/nf_conntrack_tcp.h, enum tcp_conntrack).
const tcpClose = 8

// ConntrackEvent is a decoded conntrack message.
type ConntrackEvent struct {
	// Kind is the kind of the event.
	Kind ConntrackKind
	// Original is the tuple of the first packet.
	Original nfnetlink.Tuple
	// Reply is the tuple of an answer. Its source is the destination of the
	// connection after all translations.
	Reply nfnetlink.Tuple
	// Status is a set of status bits.
	Status uint32
	// TCPState is the state of a TCP connection, or 0 if it is not reported.
	TCPState uint8
}
