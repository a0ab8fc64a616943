// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"regexp"
	"strings"
)

// TableName is the name of the trace's table in the family inet.
const TableName = "meshvm_trace"

// Names of meshvm's table.
const (
	repairTable  = "meshvm"
	repairFamily = "inet"
)

// Names of the components that write rules.
const (
	writerMeshvm   = "meshvm"
	writerTrace    = "meshvm trace"
	writerKubeVirt = "KubeVirt"
	writerIstio    = "Istio"
	writerOther    = "another writer"
)

// Ruleset contains the rules of a network namespace for texts of a report.
type Ruleset struct {
	// Chains are the chains by family, table and name.
	Chains map[ChainKey]ChainInfo
	// Rules are the rules by chain and handle.
	Rules map[RuleKey]RuleInfo
}

// ChainKey identifies a chain in a network namespace.
type ChainKey struct {
	// Family is the number of the table's family (linux/netfilter.h,
	// NFPROTO_*).
	Family uint8
	// Table and Chain are the names.
	Table, Chain string
}

// RuleKey identifies a rule in a network namespace.
type RuleKey struct {
	ChainKey
	// Handle is the kernel's handle of the rule, which is unique in a table.
	Handle uint64
}

// ChainInfo describes a chain in a report.
type ChainInfo struct {
	// Hook is the name of the hook in nft. It is empty for a regular chain.
	Hook string
	// Type is "nat", "filter" or "route". It is empty for a regular chain.
	Type string
	// Priority determines the order of the base chains of a hook.
	Priority int32
}

// RuleInfo describes a rule in a report.
type RuleInfo struct {
	// Text is the rule in nft's notation without counter and comment.
	Text string
	// Comment is the comment of the rule.
	Comment string
}

// familyName returns the name of a family in nft.
func familyName(family uint8) string {
	switch family {
	case familyInet:
		return repairFamily
	case familyIPv4:
		return "ip"
	case familyIPv6:
		return "ip6"
	default:
		return "other"
	}
}

// Numbers of the families (linux/netfilter.h).
const (
	familyInet = 1
	familyIPv4 = 2
	familyIPv6 = 10
)

// isRepair reports whether the chain is in meshvm's table.
func (k ChainKey) isRepair() bool { return k.Family == familyInet && k.Table == repairTable }

// isOwn reports whether the chain is in the trace's table.
func (k ChainKey) isOwn() bool { return k.Family == familyInet && k.Table == TableName }

// writer returns the component that wrote a chain. KubeVirt's rules and Istio's
// iptables rules share the tables "ip nat" and "ip6 nat". The base chains of
// iptables have names in capitals, unlike KubeVirt's base chains (KubeVirt,
// pkg/network/setup/netpod/masquerade; Istio, tools/istio-iptables).
func (r Ruleset) writer(k ChainKey) string {
	switch {
	case k.isRepair():
		return writerMeshvm
	case k.isOwn():
		return writerTrace
	case strings.HasPrefix(k.Table, "istio-"), strings.HasPrefix(k.Chain, "ISTIO_"):
		return writerIstio
	case strings.HasPrefix(k.Chain, "KUBEVIRT_"):
		return writerKubeVirt
	case k.Family != familyIPv4 && k.Family != familyIPv6:
		return writerOther
	case k.Chain == strings.ToUpper(k.Chain) && r.hasChain(k, "ISTIO_"):
		return writerIstio
	case k.Chain == strings.ToLower(k.Chain) && k.Table == "nat" && r.hasChain(k, "KUBEVIRT_"):
		return writerKubeVirt
	default:
		return writerOther
	}
}

// ambient reports whether the pod's proxy is ztunnel. It detects chains that
// exist only in ambient mode (Istio, cni/pkg/iptables and cni/pkg/nftables) and
// meshvm's chains for ambient mode.
func (r Ruleset) ambient() bool {
	for k := range r.Chains {
		if strings.HasPrefix(k.Table, "istio-ambient-") || k.Chain == "ISTIO_PRERT" || k.isRepair() && k.Chain == "mark_prerouting" {
			return true
		}
	}
	return false
}

// hasChain reports whether the table has a chain whose name has the prefix.
func (r Ruleset) hasChain(k ChainKey, prefix string) bool {
	for other := range r.Chains {
		if other.Family == k.Family && other.Table == k.Table && strings.HasPrefix(other.Chain, prefix) {
			return true
		}
	}
	return false
}

// repairNames matches the prefix of a comment in meshvm's table: "N1: " or "N2,
// N5: ".
var repairNames = regexp.MustCompile(`^(N\d+(?:, N\d+)*): `)

// repairs returns the names of the defects in the prefix of a comment in
// meshvm's table.
func repairs(comment string) []string {
	m := repairNames.FindStringSubmatch(comment)
	if m == nil {
		return nil
	}
	return strings.Split(m[1], ", ")
}
