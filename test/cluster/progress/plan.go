// SPDX-License-Identifier: Apache-2.0

package progress

import "time"

// Cost is the cost of a step for which nothing is cached.
type Cost struct {
	// Name is the name of the step, as in Begin.
	Name string
	// Seconds is the wall time of the step on the reference machine without
	// concurrent steps.
	Seconds float64
	// Packages is the number of Go packages that the step compiles, 0 if none.
	Packages int
}

// referenceCores is the number of cores of the machine on which the costs were
// measured.
const referenceCores = 2.0

// plan estimates the remaining time. Steps can run concurrently, so it compares
// the progress of all steps with the elapsed time.
type plan struct {
	begin time.Time
	costs map[string]Cost
	// ended contains the steps that have ended.
	ended map[string]bool
	// guess is the estimated ratio of this machine's time to the reference
	// machine's time, based on the number of cores.
	guess float64
}

func newPlan(steps []Cost, begin time.Time, guess float64) *plan {
	p := &plan{begin: begin, costs: map[string]Cost{}, ended: map[string]bool{}, guess: guess}
	for _, s := range steps {
		p.costs[s.Name] = s
	}
	return p
}

// trusted is the cost, in seconds, after which the measured speed of this
// machine has the same weight as the guess.
const trusted = 60.0

// left returns the estimated time of the remaining steps.
func (p *plan) left(now time.Time, running map[string]*run) time.Duration {
	var done, rest float64
	for name, c := range p.costs {
		part := 0.0
		if r := running[name]; r != nil {
			part = r.fraction(c, now, p.guess)
		}
		if p.ended[name] {
			part = 1
		}
		done += part * c.Seconds
		rest += (1 - part) * c.Seconds
	}
	factor := (p.guess*trusted + now.Sub(p.begin).Seconds()) / (trusted + done)
	return time.Duration(rest * factor * float64(time.Second))
}

// fraction returns the completed fraction of a running step. A step that compiles only a
// few of its packages finds the others in Go's cache, so only the time shows its progress.
func (r *run) fraction(c Cost, now time.Time, factor float64) float64 {
	const (
		most = 0.95 // linking follows the last package
		few  = 0.1
	)
	part := now.Sub(r.begin).Seconds() / (c.Seconds * factor)
	if compiled := float64(r.packages) / float64(c.Packages); c.Packages > 0 && compiled >= few {
		part = compiled
	}
	return min(part, most)
}
