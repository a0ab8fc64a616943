// SPDX-License-Identifier: Apache-2.0

// Package flow keeps a TCP connection busy and describes what became of it: it sends
// a numbered line several times a second to a peer that returns lines as they
// are, and notes when answers came.
package flow

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Report is what became of a connection so far.
type Report struct {
	// Local and Remote are its addresses.
	Local  string `json:"local"`
	Remote string `json:"remote"`
	// Sent and Answered count lines.
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	// GapMilliseconds is the longest time between two answers, the one that
	// lasts still included.
	GapMilliseconds int64 `json:"gapMilliseconds"`
	// LastMilliseconds is how long ago the last answer came.
	LastMilliseconds int64 `json:"lastMilliseconds"`
	// Error ended the connection; empty while it lasts.
	Error string `json:"error,omitempty"`
	// EndedMilliseconds is when it ended, since its start.
	EndedMilliseconds int64 `json:"endedMilliseconds,omitempty"`
}

// Flow is a running connection.
type Flow struct {
	mu      sync.Mutex
	report  Report
	started time.Time
	last    time.Time
	gap     time.Duration
}

// interval is between two lines.
const interval = 100 * time.Millisecond

// Start connects and begins to send. A line that cannot be sent, or an answer
// that does not come for patience, ends the flow.
func Start(address string, patience time.Duration) (*Flow, error) {
	c, err := net.DialTimeout("tcp", address, 5*time.Second)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	f := &Flow{started: now, last: now, report: Report{Local: c.LocalAddr().String(), Remote: c.RemoteAddr().String()}}
	go f.receive(c, patience)
	go f.send(c)
	return f, nil
}

func (f *Flow) send(c net.Conn) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for range tick.C {
		f.mu.Lock()
		ended, n := f.report.Error != "", f.report.Sent
		f.mu.Unlock()
		if ended {
			return
		}
		if _, err := fmt.Fprintf(c, "line %d\n", n); err != nil {
			f.end(c, err)
			return
		}
		f.mu.Lock()
		f.report.Sent++
		f.mu.Unlock()
	}
}

func (f *Flow) receive(c net.Conn, patience time.Duration) {
	r := bufio.NewReader(c)
	for {
		if err := c.SetReadDeadline(time.Now().Add(patience)); err != nil {
			f.end(c, err)
			return
		}
		line, err := r.ReadString('\n')
		if err != nil {
			f.end(c, err)
			return
		}
		f.mu.Lock()
		if want := fmt.Sprintf("line %d", f.report.Answered); strings.TrimSpace(line) != want {
			err = fmt.Errorf("answer %q, want %q", strings.TrimSpace(line), want)
		}
		now := time.Now()
		f.gap, f.last = max(f.gap, now.Sub(f.last)), now
		f.report.Answered++
		f.mu.Unlock()
		if err != nil {
			f.end(c, err)
			return
		}
	}
}

func (f *Flow) end(c net.Conn, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.report.Error == "" {
		f.report.Error = err.Error()
		f.report.EndedMilliseconds = time.Since(f.started).Milliseconds()
	}
	_ = c.Close()
}

// Report describes what became of the flow so far.
func (f *Flow) Report() Report {
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.report
	since := time.Since(f.last)
	r.LastMilliseconds = since.Milliseconds()
	r.GapMilliseconds = f.gap.Milliseconds()
	if r.Error == "" {
		r.GapMilliseconds = max(r.GapMilliseconds, since.Milliseconds())
	}
	return r
}

// Serve is the peer: it returns every line.
func Serve(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer c.Close() //nolint:errcheck // the peer is gone
			for r := bufio.NewReader(c); ; {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if _, err := c.Write([]byte(line)); err != nil {
					return
				}
			}
		}()
	}
}

// Flows are running flows by name.
type Flows struct {
	mu   sync.Mutex
	byID map[string]*Flow
}

// Start starts a flow under a name, which may have been used before.
func (f *Flows) Start(name, address string, patience time.Duration) (Report, error) {
	flow, err := Start(address, patience)
	if err != nil {
		return Report{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.byID == nil {
		f.byID = map[string]*Flow{}
	}
	f.byID[name] = flow
	return flow.Report(), nil
}

// Report is the report of the flow with a name.
func (f *Flows) Report(name string) (Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	flow, ok := f.byID[name]
	if !ok {
		return Report{}, fmt.Errorf("no flow %q", name)
	}
	return flow.Report(), nil
}
