// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package install contains the tests of installing, upgrading and removing the
// operator. Each test begins without the operator, deploys its own, and removes it.
package install

import "meshvm.io/meshvm/test/e2e/suite"

const replacesOperator = "replaces the operator"

// Tests are the tests of this phase.
var Tests = []suite.Test{
	{Name: "Helm", Run: helm, Serial: replacesOperator, Local: "images that are imported on its nodes"},
	{Name: "Upgrade", Run: upgrade, Serial: replacesOperator, Local: "images that are imported on its nodes"},
}
