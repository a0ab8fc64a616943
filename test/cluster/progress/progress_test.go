// SPDX-License-Identifier: Apache-2.0

package progress

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestTrackerPrintsPeriodically(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out strings.Builder
		tracker := New(&out, time.Now())
		tracker.Expect([]Cost{{Name: "a", Seconds: 100, Packages: 10}, {Name: "b", Seconds: 50}})
		a := tracker.Begin("building", "a")
		last, lines := time.Now(), 0
		for range 60 {
			time.Sleep(time.Second)
			synctest.Wait()
			tracker.mu.Lock()
			if n := strings.Count(out.String(), "\n"); n > lines {
				last, lines = time.Now(), n
			}
			tracker.mu.Unlock()
			if quiet := time.Since(last); quiet > Quiet {
				t.Fatalf("no line for %s:\n%s", quiet, out.String())
			}
			a.Compiled("example.org/one/two/three/four")
		}
		a.End(nil)
		b := tracker.Begin("fetching", "b")
		b.End(errors.New("broken"))
		synctest.Wait()
		for _, want := range []string{"building a", "now two/three/four", "a: done in 60.0 s", "fetching b (about "} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %q in\n%s", want, out.String())
			}
		}
		if strings.Contains(out.String(), "b: done") {
			t.Errorf("a failed step is reported as done:\n%s", out.String())
		}
	})
}

func TestTimeLeft(t *testing.T) {
	begin := time.Unix(0, 0)
	at := func(seconds int) time.Time { return begin.Add(time.Duration(seconds) * time.Second) }
	p := newPlan([]Cost{{Name: "kube", Seconds: 300, Packages: 1000}, {Name: "root", Seconds: 30}}, begin, 1)
	cases := []struct {
		name     string
		now      int
		running  map[string]*run
		ended    []string
		min, max time.Duration
	}{
		{name: "begin", now: 0, min: 330 * time.Second, max: 330 * time.Second},
		{
			name: "half of a step, at the reference speed", now: 150,
			running: map[string]*run{"kube": {begin: begin, packages: 500}}, min: 175 * time.Second, max: 185 * time.Second,
		},
		{
			name: "half of a step, at half the speed", now: 300,
			running: map[string]*run{"kube": {begin: begin, packages: 500}}, min: 290 * time.Second, max: 360 * time.Second,
		},
		{
			name: "more packages than expected", now: 300,
			running: map[string]*run{"kube": {begin: begin, packages: 5000}}, ended: []string{"root"}, min: time.Second, max: 20 * time.Second,
		},
		{
			name: "packages in Go's cache", now: 150,
			running: map[string]*run{"kube": {begin: begin, packages: 20}}, min: 175 * time.Second, max: 185 * time.Second,
		},
		{name: "all steps have ended", now: 300, ended: []string{"root", "kube"}},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p.ended = map[string]bool{}
			for _, name := range c.ended {
				p.ended[name] = true
			}
			if got := p.left(at(c.now), c.running); got < c.min || got > c.max {
				t.Errorf("got %s, want %s to %s", got, c.min, c.max)
			}
		})
	}
}

func TestAbout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		3 * time.Second: "a few seconds", 44 * time.Second: "about 40 s", 119 * time.Second: "about 2 min", 14 * time.Minute: "about 14 min",
	} {
		if got := About(d); got != want {
			t.Errorf("%s: got %q, want %q", d, got, want)
		}
	}
}
