// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package suite runs the end-to-end tests. It provides a cluster, the operator and
// namespaces with virtual machines, and checks the use of RBAC permissions and
// leftovers on the machine after the tests.
package suite

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/requirement"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// Phase is a group of tests. The phases run in the order of the table in
// TestE2E. The tests of a phase run in any order.
type Phase struct {
	Name  string
	Tests []Test
}

// Test is an entry of a phase.
type Test struct {
	Name string
	Run  func(t *T)
	// Serial is the reason why no other test may run at the same time. Tests without
	// a reason run in parallel after the serial tests of their phase.
	Serial string
	// Local is the part of the local cluster that the test uses. The test is skipped
	// with another provider.
	Local string
	// Owned tests stop the cluster. They are skipped with -attach.
	Owned bool
	// Nodes is the number of nodes that the test needs. Defaults to 1.
	Nodes int
	// OwnGuest tests call functions of the guest that only builder.GuestImage has.
	OwnGuest bool
	// AccessLog tests read the access log of the proxies.
	AccessLog bool
	// Variable is an environment variable. If it is set here, the test runs only if
	// the variable is set in the environment.
	Variable string
}

// Suite provides what the tests need. It creates shared objects when a test first
// needs them.
type Suite struct {
	options  *Options
	provider provider
	skew     string
	// operators prevents that two tests deploy the operator at the same time, samples
	// that two tests create the shared sample at the same time.
	operators, samples sync.Mutex

	mu       sync.Mutex // protects the fields below
	scenario *scenario.Scenario
	operator operatorState
	sample   *Sample
	// otherManagers contains the UIDs of manager pods whose calls the check of
	// permissions ignores.
	otherManagers map[string]bool
	// ran contains the full names of the tests that were started.
	ran map[string]bool
}

// Run runs all phases.
func Run(t *testing.T, o *Options, phases []Phase) {
	t.Helper()
	if reason := o.skipReason(); reason != "" {
		requirement.Cluster.Unmet(t, "%s", reason)
	}
	s := &Suite{options: o, otherManagers: map[string]bool{}, ran: map[string]bool{}}
	(&T{T: t, Suite: s}).NoError(s.start(t))
	shuffle := o.shuffle()
	begin := time.Now()
	for _, p := range phases {
		t.Run(p.Name, func(t *testing.T) { s.phase(t, p, shuffle) })
	}
	t.Logf("wall time of all phases: %.0f s", time.Since(begin).Seconds())
	s.finish(t, phases)
	t.Logf("wall time including the checks after the tests: %.0f s", time.Since(begin).Seconds())
}

// start starts the cluster and checks it.
func (s *Suite) start(t *testing.T) error {
	t.Helper()
	var err error
	if s.skew, err = s.options.skew(); err != nil {
		return err
	}
	s.provider = s.options.newProvider()
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	begin := time.Now()
	if s.scenario, err = s.provider.start(ctx); err != nil {
		return fmt.Errorf("provider %s: start the cluster: %w", s.provider.name(), err)
	}
	t.Logf("provider %s: the cluster was ready after %.1f s", s.provider.name(), time.Since(begin).Seconds())
	if err := s.provider.check(ctx, t, s.scenario); err != nil {
		return fmt.Errorf("provider %s: %w", s.provider.name(), err)
	}
	s.operator = s.provider.operator()
	if s.skew == "" {
		return nil
	}
	if err := skews[s.skew].use(ctx, s.scenario, true); err != nil {
		return fmt.Errorf("%s=%s: %w", skewVariable, s.skew, err)
	}
	t.Logf("all tests of this run have %s=%s", skewVariable, s.skew)
	return nil
}

// phase runs the tests of a phase.
func (s *Suite) phase(t *testing.T, p Phase, shuffle *uint64) {
	t.Helper()
	begin := time.Now()
	tests := slices.Clone(p.Tests)
	if shuffle != nil {
		//nolint:gosec // The order of tests needs no strong random numbers.
		rand.New(rand.NewPCG(*shuffle, 0)).Shuffle(len(tests), func(i, j int) { tests[i], tests[j] = tests[j], tests[i] })
		t.Logf("order of the tests: %s (-shuffle=%d)", names(tests), *shuffle)
	}
	// Cleanup functions run after the parallel tests.
	t.Cleanup(func() {
		s.removeSample(t)
		t.Logf("phase %s took %.0f s", p.Name, time.Since(begin).Seconds())
	})
	for _, test := range tests {
		t.Run(test.Name, func(t *testing.T) {
			s.mu.Lock()
			s.ran[p.Name+"/"+test.Name] = true
			s.mu.Unlock()
			s.skip(t, test)
			if test.Serial == "" {
				t.Parallel()
			}
			begin := time.Now()
			defer func() { t.Logf("%s took %.1f s", test.Name, time.Since(begin).Seconds()) }()
			test.Run(&T{T: t, Suite: s})
		})
	}
}

func names(tests []Test) string {
	var out []string
	for _, t := range tests {
		out = append(out, t.Name)
	}
	return strings.Join(out, ", ")
}

// skip skips a test that is not part of this run, or that needs more than the cluster
// has. The local cluster has everything, unless something is broken.
func (s *Suite) skip(t *testing.T, test Test) {
	t.Helper()
	if reason := s.excluded(test); reason != "" {
		t.Skip(reason) //nolint:forbidigo // A choice of the user, not a requirement.
	}
	switch reason := s.lacking(test); {
	case reason == "":
	case s.provider.local():
		requirement.Cluster.Unmet(t, "%s", reason)
	default:
		t.Skip(reason) //nolint:forbidigo // A property of the user's cluster.
	}
}

// excluded returns the reason why a test is not part of this run, or an empty string.
func (s *Suite) excluded(test Test) string {
	switch {
	case test.Variable != "" && os.Getenv(test.Variable) == "":
		return "runs only if " + test.Variable + " is set"
	case test.Local != "" && !s.provider.local():
		return fmt.Sprintf("needs the local cluster (%s); this run has the provider %s", test.Local, s.provider.name())
	case test.Owned && s.options.Attach != "":
		return "stops the cluster, which the run with -attach does not own"
	default:
		return ""
	}
}

// lacking returns what the cluster lacks for a test, or an empty string.
func (s *Suite) lacking(test Test) string {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	sc := s.Scenario()
	if test.OwnGuest && !sc.HasOwnGuest() {
		return "needs the functions of the local guest image: set -guest-image"
	}
	if test.AccessLog {
		if ok, err := sc.HasAccessLog(ctx); err != nil || !ok {
			return fmt.Sprintf("needs access logs of the proxies in the format of test/cluster/manifests/istiod-values.yaml (error: %v)", err)
		}
	}
	if test.Nodes > 1 {
		if n, err := s.guestNodes(ctx); err != nil || n < test.Nodes {
			return fmt.Sprintf("needs %d nodes for guests; the cluster has %d (error: %v)", test.Nodes, n, err)
		}
	}
	return ""
}

// Scenario returns the scenario on the cluster.
func (s *Suite) Scenario() *scenario.Scenario {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.scenario
}

// Skew returns the skew of all tests of this run, or an empty string.
func (s *Suite) Skew() string { return s.skew }

// complete reports whether the run started all tests of all phases.
func (s *Suite) complete(phases []Phase) bool {
	for _, p := range phases {
		for _, test := range p.Tests {
			if !s.ran[p.Name+"/"+test.Name] || (test.Owned && s.options.Attach != "") {
				return false
			}
		}
	}
	return true
}

// finish checks the permissions, stops the cluster, and checks the machine.
func (s *Suite) finish(t *testing.T, phases []Phase) {
	t.Helper()
	// Deferred, because the check of the permissions can end the test.
	defer func() {
		if err := s.provider.stop(t); err != nil {
			(&T{T: t, Suite: s}).Errorf("provider %s: %v", s.provider.name(), err)
		}
	}()
	if !s.provider.local() {
		t.Log("the use of the permissions is not checked: it needs the audit log of the local cluster")
		return
	}
	(&T{T: t, Suite: s}).checkPermissions(s.complete(phases))
}
