// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package features contains the tests of features. Each test uses machines in its
// own namespace and does not change the operator or the nodes.
package features

import "meshvm.io/meshvm/test/e2e/suite"

// busyMigration is the reason of tests with live migrations: KubeVirt's migrations
// failed on two busy cores.
const busyMigration = "migrates a guest"

// Tests are the tests of this phase.
var Tests = []suite.Test{
	{Name: "Start", Run: start, Serial: "measures a time"},
	{Name: "Gate", Run: gate, Local: "packet counters in the kernel", Nodes: 2, Serial: busyMigration},
	{Name: "Migration", Run: migration, OwnGuest: true, Nodes: 2, Serial: busyMigration},
	{Name: "Mesh", Run: mesh, OwnGuest: true, AccessLog: true},
	{Name: "Change", Run: change, OwnGuest: true},
	{Name: "Version", Run: version},
	{Name: "Expanded", Run: expanded, Local: "a setting of KubeVirt"},
	{Name: "Readme", Run: documented, OwnGuest: true},
	{Name: "Canary", Run: canary, OwnGuest: true},
	{Name: "Allow", Run: allow, OwnGuest: true},
	{Name: "Limits", Run: limits, OwnGuest: true},
	{Name: "Routes", Run: routes, OwnGuest: true},
	{Name: "Token", Run: token, OwnGuest: true},
	{Name: "Egress", Run: egress, OwnGuest: true},
	{Name: "Identity", Run: identity, OwnGuest: true, AccessLog: true},
	{Name: "ProxyState", Run: proxyState, OwnGuest: true},
	{Name: "Telemetry", Run: telemetry, OwnGuest: true, AccessLog: true},
	{Name: "Trace", Run: traces, OwnGuest: true, Local: "the tables in the pod"},
	{Name: "Privileges", Run: privileges, Local: "the node's /proc"},
	{Name: "Packets", Run: packets},
	{Name: "InjectedPod", Run: injectedPod},
	{Name: "Warnings", Run: warnings},
	{Name: "Corpus", Run: specs},
	{Name: "Deletion", Run: deletion},
	{Name: "Hotplug", Run: hotplug, OwnGuest: true},
	{Name: "Restore", Run: restore, OwnGuest: true},
	{Name: "Removal", Run: removal, OwnGuest: true, Local: "the tables in the pod"},
	{Name: "Orphan", Run: orphan, OwnGuest: true, Local: "the tables in the pod"},
	{Name: "Adoption", Run: adoption, OwnGuest: true, Local: "the tables in the pod"},
	{Name: "Shadowed", Run: shadowed, OwnGuest: true},
}
