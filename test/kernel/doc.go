// SPDX-License-Identifier: Apache-2.0

// Package kernel sends packets through the rules of KubeVirt, Istio and meshvm
// in the kernel. KubeVirt's rules are written by KubeVirt's package, Istio's
// rules by pilot-agent, and meshvm's rules by the rule-writer.
//
// Each lab consists of three network namespaces:
//
//	peer (10.244.0.1, and all outside addresses)
//	  | veth
//	pod: eth0 10.244.0.8, rules, proxy stand-in, bridge k6t-eth0 10.0.2.1
//	  | veth in place of the tap device
//	guest (10.0.2.2)
//
// The proxy stand-in replaces Envoy: UID 1337, ports 15001 and 15006,
// SO_ORIGINAL_DST, upstream connections from 127.0.0.6 and ::6. TestMatrix also
// runs Envoy if it is available. The guest consists of servers in a network
// namespace, not of a virtual machine.
//
// The tests require Linux, root in a user namespace that maps UID 1337, and the
// programs nft and iptables. Otherwise they are skipped with the reason, or
// fail if MESHVM_REQUIRE_KERNEL=1. The programs of KubeVirt and Istio are built
// if they are not in the cache of test/cluster. MESHVM_MASQUERADE,
// MESHVM_PILOT_AGENT, MESHVM_AMBIENT and MESHVM_ENVOY select other programs.
package kernel
