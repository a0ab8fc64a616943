// SPDX-License-Identifier: Apache-2.0

package flow

import (
	"net"
	"testing"
	"time"
)

// TestFlow starts a flow, interrupts it, and checks the reports.
func TestFlow(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // the test ends
	go Serve(l)     //nolint:errcheck // ends with the listener
	var flows Flows
	if _, err := flows.Start("a", l.Addr().String(), time.Minute); err != nil {
		t.Fatal(err)
	}
	await := func(what string, done func(Report) bool) Report {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			r, err := flows.Report("a")
			if err != nil {
				t.Fatal(err)
			}
			if done(r) {
				return r
			}
			if time.Now().After(deadline) {
				t.Fatalf("%s: %+v", what, r)
			}
		}
	}
	if r := await("answers", func(r Report) bool { return r.Answered >= 3 }); r.Error != "" {
		t.Errorf("a running flow reports the error %s", r.Error)
	}
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close() //nolint:errcheck // the test ends
	if _, err := flows.Start("a", silent.Addr().String(), 300*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	if r := await("the end", func(r Report) bool { return r.Error != "" }); r.Answered != 0 || r.Sent == 0 || r.EndedMilliseconds < 300 {
		t.Errorf("unexpected report of a flow without replies: %+v", r)
	}
	if _, err := flows.Report("b"); err == nil {
		t.Error("a flow that was never started has a report")
	}
}
