// SPDX-License-Identifier: Apache-2.0

// Package progress reports the progress of long builds: the running steps,
// their progress and the remaining time. It imports only the standard library,
// so that the demo's first program compiles in seconds.
package progress

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

// Quiet is the longest time without a line while a step runs.
const Quiet = 8 * time.Second

// Tracker prints lines with the time since the start. While steps run, it
// prints a line about them at least every Quiet.
type Tracker struct {
	out   io.Writer
	start time.Time
	now   func() time.Time

	mu      sync.Mutex
	printed time.Time
	running map[string]*run
	plan    *plan
	ticking chan struct{}
}

// run is a running step.
type run struct {
	begin time.Time
	// verb describes the step in a line, for example "building".
	verb string
	// packages is the number of compiled Go packages, and latest is the last of
	// them.
	packages int
	latest   string
	// processors is the processor time of the step's commands.
	processors time.Duration
}

// New returns a tracker that writes to out. Times are relative to start.
func New(out io.Writer, start time.Time) *Tracker {
	return &Tracker{out: out, start: start, now: time.Now, running: map[string]*run{}}
}

// Start returns the start time of the tracker.
func (t *Tracker) Start() time.Time { return t.start }

// Logf prints a line with the time since the start.
func (t *Tracker) Logf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.line(fmt.Sprintf(format, args...))
}

func (t *Tracker) line(text string) {
	t.printed = t.now()
	fmt.Fprintf(t.out, "%7.1fs  %s\n", t.printed.Sub(t.start).Seconds(), text)
}

// Step is a running step of a Tracker.
type Step struct {
	tracker *Tracker
	name    string
}

// Begin reports that a step begins. The verb describes it, for example
// "building".
func (t *Tracker) Begin(verb, name string) Step {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.running[name] = &run{begin: t.now(), verb: verb}
	t.line(verb + " " + name + t.left())
	if t.ticking == nil {
		t.ticking = make(chan struct{})
		go t.tick(t.ticking)
	}
	return Step{tracker: t, name: name}
}

// Compiled records that the step compiles a Go package.
func (s Step) Compiled(pkg string) {
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	if r := s.tracker.running[s.name]; r != nil {
		r.packages++
		r.latest = pkg
	}
}

// Used adds processor time to the step.
func (s Step) Used(d time.Duration) {
	s.tracker.mu.Lock()
	defer s.tracker.mu.Unlock()
	if r := s.tracker.running[s.name]; r != nil {
		r.processors += d
	}
}

// End reports that the step has ended. For a failed step it prints nothing,
// because the error is printed elsewhere.
func (s Step) End(err error) {
	t := s.tracker
	t.mu.Lock()
	defer t.mu.Unlock()
	r := t.running[s.name]
	delete(t.running, s.name)
	if len(t.running) == 0 && t.ticking != nil {
		close(t.ticking)
		t.ticking = nil
	}
	if r == nil || err != nil {
		return
	}
	if t.plan != nil {
		t.plan.ended[s.name] = true
	}
	text := fmt.Sprintf("%s: done in %.1f s", s.name, t.now().Sub(r.begin).Seconds())
	if r.processors > time.Second {
		text += fmt.Sprintf(", %.0f s of processor time, %d packages", r.processors.Seconds(), r.packages)
	}
	t.line(text)
}

// tick prints a line if nothing was printed for Quiet.
func (t *Tracker) tick(done chan struct{}) {
	tick := time.NewTicker(Quiet / 4)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			t.mu.Lock()
			if len(t.running) > 0 && t.now().Sub(t.printed) >= Quiet-Quiet/4 {
				t.line(t.status())
			}
			t.mu.Unlock()
		}
	}
}

// status describes the running steps and the remaining time.
func (t *Tracker) status() string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(t.running)) {
		r := t.running[name]
		text := fmt.Sprintf("%s %s for %.0f s", r.verb, name, t.now().Sub(r.begin).Seconds())
		if r.packages > 0 {
			text += fmt.Sprintf(", %d packages compiled, now %s", r.packages, shorten(r.latest))
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ") + t.left()
}

// shorten returns the last elements of a package path.
func shorten(pkg string) string {
	parts := strings.Split(pkg, "/")
	return strings.Join(parts[max(0, len(parts)-3):], "/")
}

// left describes the remaining time. It returns an empty string without a plan.
func (t *Tracker) left() string {
	if t.plan == nil {
		return ""
	}
	return " (" + About(t.plan.left(t.now(), t.running)) + " left)"
}

// About returns a rounded duration, for example "about 2 min".
func About(d time.Duration) string {
	switch {
	case d < 20*time.Second:
		return "a few seconds"
	case d < 100*time.Second:
		return fmt.Sprintf("about %d s", int(d.Seconds()+5)/10*10)
	}
	return fmt.Sprintf("about %d min", int(d.Minutes()+0.5))
}

// Expect sets the remaining steps with their costs. Afterwards, lines contain
// the remaining time.
func (t *Tracker) Expect(steps []Cost) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.plan = newPlan(steps, t.now(), referenceCores/float64(runtime.NumCPU()))
}
