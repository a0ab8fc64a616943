// SPDX-License-Identifier: Apache-2.0

// Package flow keeps a TCP connection busy and reports its state. It sends a
// numbered line several times per second to a peer that echoes lines, and
// records when the replies arrived.
package flow

import (
	"bufio"
	"fmt"
	"net"
	"strings"
	"sync"
	"time"
)

// Report is the state of a connection.
type Report struct {
	// Local and Remote are its addresses.
	Local  string `json:"local"`
	Remote string `json:"remote"`
	// Sent and Answered count lines.
	Sent     int `json:"sent"`
	Answered int `json:"answered"`
	// GapMilliseconds is the longest time between two replies, including the time
	// since the last reply.
	GapMilliseconds int64 `json:"gapMilliseconds"`
	// LastMilliseconds is the time since the last reply.
	LastMilliseconds int64 `json:"lastMilliseconds"`
	// Error is the error that ended the connection. It is empty while the
	// connection is open.
	Error string `json:"error,omitempty"`
	// EndedMilliseconds is the time from the start of the connection to its end.
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

// interval is the time between two lines.
const interval = 100 * time.Millisecond

// Start connects and starts sending. The flow ends if a line cannot be sent, or
// if no reply arrives within patience.
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

// Report returns the current state of the flow.
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

// Serve implements the peer: it echoes every line.
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

// Flows contains the running flows by name.
type Flows struct {
	mu   sync.Mutex
	byID map[string]*Flow
}

// Start starts a flow with a name. It replaces an earlier flow with the same
// name.
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

// Report returns the report of the flow with a name.
func (f *Flows) Report(name string) (Report, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	flow, ok := f.byID[name]
	if !ok {
		return Report{}, fmt.Errorf("no flow %q", name)
	}
	return flow.Report(), nil
}
