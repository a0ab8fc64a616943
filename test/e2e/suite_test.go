// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package e2e runs the end-to-end tests on a cluster with KubeVirt and Istio. See
// test/e2e/README.md.
package e2e

import (
	"flag"
	"os"
	"testing"

	"meshvm.io/meshvm/test/e2e/disruptive"
	"meshvm.io/meshvm/test/e2e/features"
	"meshvm.io/meshvm/test/e2e/install"
	"meshvm.io/meshvm/test/e2e/suite"
)

var options = suite.Flags(flag.CommandLine)

// TestMain prints the messages of failed tests again at the end, because the
// output of the suite has thousands of lines.
func TestMain(m *testing.M) {
	status := m.Run()
	suite.PrintFailures(os.Stdout)
	os.Exit(status)
}

// TestE2E runs the phases in the order of this table. The tests of a phase are in
// no order: each one creates what it needs, and can run alone, for example with
// -run 'TestE2E/features/Migration'.
func TestE2E(t *testing.T) {
	suite.Run(t, options, []suite.Phase{
		{Name: "install", Tests: install.Tests},
		{Name: "features", Tests: features.Tests},
		{Name: "disruptive", Tests: disruptive.Tests},
	})
}
