// SPDX-License-Identifier: Apache-2.0

package trace

// EventKind describes what a trace message reports.
type EventKind uint32

// Kinds of trace messages (linux/netfilter/nf_tables.h, enum nft_trace_types).
const (
	// EventPolicy is the end of a base chain: no rule has decided.
	EventPolicy EventKind = 1
	// EventReturn is the end of a chain that was jumped to.
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
	// ID connects the messages of one packet in one base chain.
	ID uint32
	// Family is the nftables family of the table (linux/netfilter.h, NFPROTO_*).
	Family uint8
	// Table and Chain are where the packet is.
	Table, Chain string
	// Handle is the rule's, for EventRule.
	Handle uint64
	// Kind is what is reported.
	Kind EventKind
	// Verdict is the rule's.
	Verdict int32
	// Target is the chain that a jump or goto leads to.
	Target string
	// Policy is the base chain's verdict, for EventPolicy.
	Policy uint32
	// Input is the index of the interface that the packet came through, 0 if
	// there is none.
	Input uint32
	// Packet has the headers, which only the first message of a packet in a
	// base chain carries.
	Packet *Packet
}

// ends reports whether the packet goes no further by this event, dropped or taken
// away.
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

// verdictWords is the verdict in nft's spelling.
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

// ConntrackKind describes what happened to a connection.
type ConntrackKind uint8

// Kinds of conntrack events (linux/netfilter/nfnetlink_conntrack.h,
// enum cntl_msg_types).
const (
	// ConntrackSeen is an entry that was new, updated or found in a dump.
	ConntrackSeen ConntrackKind = iota
	// ConntrackGone is an entry that was deleted.
	ConntrackGone
)

// Bits of an entry's status (linux/netfilter/nf_conntrack_common.h,
// enum ip_conntrack_status).
const (
	statusSeenReply = 1 << 1
	statusAssured   = 1 << 2
)

// tcpClose is the state of a connection that was reset
// (linux/netfilter/nf_conntrack_tcp.h, enum tcp_conntrack).
const tcpClose = 8

// ConntrackEvent is a decoded conntrack message.
type ConntrackEvent struct {
	// Kind is what happened.
	Kind ConntrackKind
	// Original is the first packet as it came.
	Original Tuple
	// Reply is an answer as it must look like: its source is where the
	// connection goes after all translations.
	Reply Tuple
	// Status is a set of bits.
	Status uint32
	// TCPState is the state of a TCP connection, 0 if it is not reported.
	TCPState uint8
}
