// SPDX-License-Identifier: Apache-2.0

package connectiontrace

import (
	"fmt"
	"slices"
	"sync"
	"time"
)

// Limits of the traces of a namespace.
const (
	// maxRunning is the number of traces that run at the same time.
	maxRunning = 4
	// maxStarts is the number of traces that start within startWindow. A user who
	// deletes and creates objects does not exceed it.
	maxStarts   = 10
	startWindow = time.Minute
	// maxWait is the time after which a trace that could not start is given up.
	maxWait = 10 * time.Minute
	// grace is the time after the creation of an object in which a missing
	// MeshedVirtualMachine or pod can appear in the cache.
	grace = 3 * time.Second
	// poll is the interval at which a waiting trace is reconsidered.
	poll = 5 * time.Second
)

// limits counts the recent starts of each namespace. A new manager starts with 0.
type limits struct {
	mu     sync.Mutex
	starts map[string][]time.Time
}

// exceeded returns why the namespace cannot start a trace now, or an empty string.
func (l *limits) exceeded(namespace string, running int, now time.Time) string {
	if running >= maxRunning {
		return fmt.Sprintf("waiting because %d traces of this namespace are running, the maximum", running)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	recent := slices.DeleteFunc(l.starts[namespace], func(t time.Time) bool { return now.Sub(t) >= startWindow })
	if len(recent) == 0 {
		delete(l.starts, namespace)
	} else {
		l.starts[namespace] = recent
	}
	if len(recent) >= maxStarts {
		return fmt.Sprintf("waiting because %d traces of this namespace started within %s, the maximum", len(recent), startWindow)
	}
	return ""
}

// started counts a start.
func (l *limits) started(namespace string, now time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.starts == nil {
		l.starts = map[string][]time.Time{}
	}
	l.starts[namespace] = append(l.starts[namespace], now)
}
