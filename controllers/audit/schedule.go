// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"hash/fnv"
	"time"
)

// round is one audit interval of a node.
type round struct {
	// begin is the time at which the round is due, and next the time of the
	// following round.
	begin, next time.Time
}

// number identifies the round.
func (r round) number() int64 { return r.begin.Unix() }

// roundAt returns the round that contains a point in time. The rounds of nodes
// are as long as the interval and offset by a hash of the node's name, so that
// every manager computes the same rounds and the audits of a large cluster are
// spread over the interval. The times are wall-clock times, because two
// computations of the same round must be equal, which monotonic clock readings
// would prevent.
func roundAt(node string, interval time.Duration, now time.Time) round {
	h := fnv.New64a()
	h.Write([]byte(node))
	offset := time.Duration(h.Sum64() % uint64(interval)) //nolint:gosec // Less than the interval.
	now = now.Round(0)                                    // Strips the monotonic clock reading (package time).
	since := (now.UnixNano() - int64(offset)) % int64(interval)
	begin := now.Add(-time.Duration(since))
	return round{begin: begin, next: begin.Add(interval)}
}

// state is the input of a decision about one node.
type state struct {
	node     string
	interval time.Duration
	now      time.Time
	// ready is set if the node can run a Job.
	ready bool
	// last is the start of the last audited round, or zero if none was audited
	// since the manager started.
	last time.Time
	// jobs is the number of existing Jobs of earlier audits.
	jobs int
}

// decision is the next action for one node.
type decision struct {
	// start is set if the audit of the round must be started.
	start bool
	round round
	// wait is the time until the next decision, unless an event occurs first.
	wait time.Duration
}

// decide starts one audit per round, in the first quarter of the round. A
// manager that has just started skips the current rounds of most nodes, so that
// it does not audit all nodes at the same time.
func decide(s state) decision {
	r := roundAt(s.node, s.interval, s.now)
	due := s.ready && s.jobs == 0 && s.last.Before(r.begin) && s.now.Sub(r.begin) <= s.interval/4
	return decision{start: due, round: r, wait: r.next.Sub(s.now)}
}
