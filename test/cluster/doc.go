// SPDX-License-Identifier: Apache-2.0

// Package cluster starts a real Kubernetes with the real KubeVirt and the real
// Istio on this machine, from Go modules and Debian packages, without a registry or a
// container daemon. The node lives in separate namespaces; stopping it leaves
// nothing behind but files in the cache directory.
//
// Go tests and the demo use this package; people use the command
// test/cluster/cmd/local-cluster. README.md in this directory lists the real
// components and the stand-ins.
package cluster
