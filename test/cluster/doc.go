// SPDX-License-Identifier: Apache-2.0

// Package cluster starts Kubernetes with KubeVirt and Istio on this machine,
// from Go modules and Debian packages, without a registry or a container
// daemon. Nodes run in separate namespaces. After a cluster is stopped, only
// files in the cache directory remain.
//
// Go tests and the demo use this package. Its command is
// test/cluster/cmd/local-cluster. README.md in this directory lists the stand-ins.
package cluster
