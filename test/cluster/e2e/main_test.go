// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package e2e tests the operator on a real cluster, and the cluster itself. The
// tests use one cluster, in the order of the file names, because starting one
// takes a minute; it dies with the test program.
package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// enable is the variable that "make test-e2e" sets.
const enable = "MESHVM_TEST_CLUSTER"

// require, when it is "1" in the environment, makes tests fail that would be
// skipped.
const require = "MESHVM_REQUIRE_CLUSTER"

var (
	keep = flag.Bool("keep-state", false, "keep the cluster's state for the next run")
	// attach is for working on tests: the cluster stays.
	attach = flag.String("attach", "", "name of a cluster that runs already (local-cluster -name NAME -nodes 2 up)")
	// clusterName is for running the tests twice at a time.
	clusterName = flag.String("name", "e2e", "name of the cluster that is started")
	// options of the cluster of these tests.
	options = cluster.Options{Nodes: 2, Owned: true, Progress: os.Stderr}
	// shared is started by the first test that needs it.
	shared *scenario.Scenario
	// machine is what there was before anything was started.
	machine footprint
)

func TestMain(m *testing.M) {
	flag.Parse()
	options.Name = *clusterName
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if skipReason() != "" || *attach != "" {
		return m.Run()
	}
	// A killed run may have left a cluster.
	if err := cluster.Down(options, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	var err error
	if machine, err = takeFootprint(options.Name); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	begin := time.Now()
	code := m.Run()
	fmt.Printf("e2e: wall time of all tests: %.0f s\n", time.Since(begin).Seconds())
	if err := cluster.Down(options, *keep); err != nil {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	return code
}

func skipReason() string {
	if os.Getenv(enable) == "" {
		return "starts a cluster, which takes minutes: make test-e2e, or " + enable + "=1"
	}
	if err := builder.Missing(); err != nil {
		return err.Error()
	}
	return ""
}

// start returns the shared cluster, started if it does not run.
func start(t *testing.T) *scenario.Scenario {
	t.Helper()
	skip(t)
	if shared != nil {
		return shared
	}
	begin := time.Now()
	k, skewed := skewOfRun(t)
	if k.options != nil {
		k.options(&options)
	}
	use := cluster.Up
	if *attach != "" {
		options.Name, options.Owned, use = *attach, false, cluster.Attach
	}
	c, err := use(testContext(t, 40*time.Minute), options)
	if err != nil {
		t.Fatalf("start the cluster: %v", err)
	}
	t.Logf("the cluster was up after %.1f s", time.Since(begin).Seconds())
	s := scenario.New(c)
	if skewed {
		if err := k.use(testContext(t, 5*time.Minute), s, true); err != nil {
			t.Fatalf("%s=%s: %v", skewVariable, os.Getenv(skewVariable), err)
		}
		t.Logf("all tests of this run have %s=%s", skewVariable, os.Getenv(skewVariable))
	}
	shared = s
	return shared
}

func skip(t *testing.T) {
	t.Helper()
	if reason := skipReason(); reason != "" {
		if os.Getenv(require) == "1" {
			t.Fatalf("%s=1, but: %s", require, reason)
		}
		t.Skip(reason)
	}
}

// own skips a test that stops the cluster when that is not ours.
func own(t *testing.T) {
	t.Helper()
	if *attach != "" {
		t.Skip("it would stop the cluster that -attach names")
	}
}

func testContext(t *testing.T, limit time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}
