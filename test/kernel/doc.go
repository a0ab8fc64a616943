// SPDX-License-Identifier: Apache-2.0

// Package kernel holds tests that send real packets through real rules:
// KubeVirt's, written by KubeVirt's own package, Istio's, written by its own
// pilot-agent, and ours, written by the rule-writer.
//
// Each lab is three network namespaces of one machine:
//
//	peer (10.244.0.1, and everything outside)
//	  | veth
//	pod: eth0 10.244.0.8, rules, proxy stand-in, bridge k6t-eth0 10.0.2.1
//	  | veth in place of the tap device
//	guest (10.0.2.2)
//
// The proxy stand-in takes Envoy's place: uid 1337, ports 15001 and 15006,
// SO_ORIGINAL_DST, upstream connections from 127.0.0.6 and ::6. TestMatrix runs
// Envoy itself too, where it can be had. The guest is a few servers in a
// namespace; nothing here runs a virtual machine.
//
// The tests need Linux, root in a user namespace that maps uid 1337, and the
// programs nft and iptables. Without them they are skipped and explain why, unless
// MESHVM_REQUIRE_KERNEL=1 turns that into a failure. KubeVirt's and Istio's
// programs are built when they are not in the cache of test/cluster;
// MESHVM_MASQUERADE, MESHVM_PILOT_AGENT, MESHVM_AMBIENT and MESHVM_ENVOY name
// other ones.
package kernel
