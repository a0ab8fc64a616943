// SPDX-License-Identifier: Apache-2.0

// Package requirement ends tests that cannot run on a machine, for example
// without the permission to create network namespaces. CI sets the variables, so
// that a test that does not run there is a failure and not a skipped test. Only
// tests import it.
package requirement

import (
	"os"
	"testing"
)

// Variable is an environment variable. With the value "1", the tests of a layer must
// not be skipped.
type Variable string

// The layers of tests with requirements.
const (
	// Envtest are the tests with an API server.
	Envtest Variable = "MESHVM_REQUIRE_ENVTEST"
	// Kernel are the tests with netfilter, network namespaces and proxies.
	Kernel Variable = "MESHVM_REQUIRE_KERNEL"
	// Cluster are the tests with the local cluster.
	Cluster Variable = "MESHVM_REQUIRE_CLUSTER"
)

// Set reports whether the tests of the layer must not be skipped.
func (v Variable) Set() bool { return os.Getenv(string(v)) == "1" }

// Unmet ends a test of the layer that cannot run for the reason: it skips the test,
// or fails it if the variable is set.
func (v Variable) Unmet(t testing.TB, format string, args ...any) {
	t.Helper()
	if v.Set() {
		t.Fatalf(format+" (%s=1 forbids skipping)", append(args, v)...)
		return
	}
	t.Skipf(format, args...) //nolint:forbidigo // The only call for requirements of machines.
}
