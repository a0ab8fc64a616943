// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"hash/fnv"
	"time"
)

// round is one turn of a node's audits.
type round struct {
	// begin is when it is due, and next when the one after it is.
	begin, next time.Time
}

// number names the round within all time.
func (r round) number() int64 { return r.begin.Unix() }

// roundAt is the round that a moment lies in. The nodes' rounds are as long as
// the interval and spread over it by the nodes' names, so that every manager
// reckons alike and a large cluster's audits do not come all at once.
func roundAt(node string, interval time.Duration, now time.Time) round {
	h := fnv.New64a()
	h.Write([]byte(node))
	offset := time.Duration(h.Sum64() % uint64(interval)) //nolint:gosec // Less than the interval.
	since := (now.UnixNano() - int64(offset)) % int64(interval)
	begin := now.Add(-time.Duration(since))
	return round{begin: begin, next: begin.Add(interval)}
}

// state is what a decision about one node hangs on.
type state struct {
	node     string
	interval time.Duration
	now      time.Time
	// ready says whether the node can run a Job.
	ready bool
	// last is the beginning of the round that was audited last, zero if none
	// was since the manager started.
	last time.Time
	// jobs is how many Jobs of earlier audits are still there.
	jobs int
}

// decision is what is to be done about one node.
type decision struct {
	// start says that the round's audit is to be started.
	start bool
	round round
	// wait is how long until the next decision, if nothing happens before.
	wait time.Duration
}

// decide starts an audit once in a round and in its first quarter: a manager
// that was just started leaves the rounds that are under way alone, so that it
// does not audit all nodes at once.
func decide(s state) decision {
	r := roundAt(s.node, s.interval, s.now)
	due := s.ready && s.jobs == 0 && s.last.Before(r.begin) && s.now.Sub(r.begin) <= s.interval/4
	return decision{start: due, round: r, wait: r.next.Sub(s.now)}
}
