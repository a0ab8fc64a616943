// SPDX-License-Identifier: Apache-2.0

//go:build linux

package olm

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/requirement"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// enable is the environment variable that "make test-olm" sets.
const enable = "MESHVM_TEST_OLM"

// attach is for the development of these tests: the cluster keeps running. The
// operator must not be installed in it.
var attach = flag.String("attach", "", "name of a running cluster (local-cluster -name NAME up)")

// up starts a cluster that is removed after the test.
func up(t *testing.T) *scenario.Scenario {
	t.Helper()
	if os.Getenv(enable) == "" {
		t.Skip("starts a cluster with OLM, which takes several minutes: run make test-olm, or set " + enable + "=1") //nolint:forbidigo // Not a requirement.
	}
	if err := builder.Missing(); err != nil {
		requirement.Cluster.Unmet(t, "%v", err)
	}
	o := cluster.Options{Name: "olm", Owned: true, Progress: os.Stderr}
	if *attach != "" {
		o.Name = *attach
		c, err := cluster.Attach(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return scenario.New(c)
	}
	if err := cluster.Down(o, false); err != nil {
		t.Fatal(err) // state of a killed run
	}
	ctx, cancel := context.WithTimeout(t.Context(), 40*time.Minute)
	defer cancel()
	c, err := cluster.Up(ctx, o)
	if err != nil {
		t.Fatalf("start the cluster: %v", err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			printDiagnostics(t, c)
		}
		if err := c.Down(false); err != nil {
			t.Error(err)
		}
	})
	return scenario.New(c)
}

// printDiagnostics prints OLM's objects, logs and events after a failure.
func printDiagnostics(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), time.Minute)
	defer cancel()
	for _, args := range []string{
		"get subscriptions,installplans,csv,catalogsources,pods -A",
		"describe installplans,csv -n " + scenario.OperatorNamespace,
		"logs -n olm deploy/catalog-operator --tail=30",
		"logs -n olm deploy/olm-operator --tail=30",
		"get events -A",
	} {
		var out strings.Builder
		err := c.Kubectl(ctx, cluster.Stdio{Out: &out, Err: &out}, strings.Fields(args)...)
		t.Logf("kubectl %s (%v)\n%s", args, err, out.String())
	}
}

// timeline logs and stores events with their times.
type timeline struct {
	t     *testing.T
	begin time.Time
	lines []string
}

func (l *timeline) mark(format string, args ...any) {
	line := fmt.Sprintf("%7.1f s  %s", time.Since(l.begin).Seconds(), fmt.Sprintf(format, args...))
	l.lines = append(l.lines, line)
	l.t.Log(line)
}

func (l *timeline) print() { l.t.Logf("time line:\n%s", strings.Join(l.lines, "\n")) }
