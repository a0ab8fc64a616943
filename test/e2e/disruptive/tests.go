// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package disruptive contains the tests that change the configuration of the
// shared operator, of Istio or of the nodes. They run one at a time.
package disruptive

import "meshvm.io/meshvm/test/e2e/suite"

const (
	changesOperator = "changes the configuration of the operator"
	changesNodes    = "stops nodes or their servers"
	changesAll      = "changes how all new pods are injected"
)

// Tests are the tests of this phase.
var Tests = []suite.Test{
	{Name: "NodeCrash", Run: nodeCrash, Serial: changesNodes, Local: "its nodes", Owned: true},
	{Name: "GateNodes", Run: gateNodes, Serial: changesNodes, Local: "its nodes", Nodes: 2},
	{Name: "SandboxKilled", Run: sandboxKilled, Serial: "kills a process of containerd", Local: "containerd"},
	{Name: "Drift", Run: drift, Serial: changesOperator, Local: "the audit log"},
	{Name: "Idle", Run: idle, Serial: changesOperator, Local: "the audit log"},
	{Name: "NativeNftables", Run: nativeNftables, Serial: changesAll, Local: "Istio's installation"},
	{Name: "NamespaceLabelOnly", Run: namespaceLabelOnly, Serial: changesAll, Local: "the API server's admission policies"},
	{Name: "SecondCluster", Run: secondCluster, Serial: "starts another cluster", Local: "a machine for clusters"},
	{Name: "StartTimes", Run: startTimes, Serial: changesOperator, Local: "packet counters in the kernel", Variable: startTimesVariable},
	{Name: "Soak", Run: soak, Serial: "measures the manager's memory", Local: "the node's /proc", Variable: soakVariable},
}
