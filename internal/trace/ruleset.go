// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"regexp"
	"strings"
)

// TableName is the name of this package's own table, in the family inet.
const TableName = "meshvm_trace"

// Names of the table that holds the repairs.
const (
	repairTable  = "meshvm"
	repairFamily = "inet"
)

// Writers of rules, in words.
const (
	writerMeshvm   = "meshvm"
	writerTrace    = "meshvm trace"
	writerKubeVirt = "KubeVirt"
	writerIstio    = "Istio"
	writerOther    = "another writer"
)

// Ruleset is what a dump reports about the rules of a namespace, for the words of a
// report.
type Ruleset struct {
	// Chains are known by family, table and name.
	Chains map[ChainKey]ChainInfo
	// Rules are known by chain and handle.
	Rules map[RuleKey]RuleInfo
}

// ChainKey identifies a chain in a network namespace.
type ChainKey struct {
	// Family is the number of the table's family (linux/netfilter.h, NFPROTO_*).
	Family uint8
	// Table and Chain are names.
	Table, Chain string
}

// RuleKey identifies a rule in a network namespace.
type RuleKey struct {
	ChainKey
	// Handle is the kernel's number of the rule, unique in a table.
	Handle uint64
}

// ChainInfo is what a report reports about a chain.
type ChainInfo struct {
	// Hook is the hook of a base chain by nft's name, empty otherwise.
	Hook string
	// Type is "nat", "filter" or "route", empty for a regular chain.
	Type string
	// Priority orders the base chains of a hook.
	Priority int32
}

// RuleInfo is what a report reports about a rule.
type RuleInfo struct {
	// Text is the rule in nft's spelling, without counter and comment.
	Text string
	// Comment is the rule's comment.
	Comment string
}

// familyName is nft's name of a family.
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

// isOwn reports whether the chain is in the table of a trace.
func (k ChainKey) isOwn() bool { return k.Family == familyInet && k.Table == TableName }

// writer reports whose a chain is. KubeVirt and Istio's iptables rules share the
// tables "ip nat" and "ip6 nat"; iptables' own chains are in capitals, KubeVirt's
// base chains are not (KubeVirt, pkg/network/setup/netpod/masquerade; Istio,
// tools/istio-iptables).
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

// ambient reports whether the pod's proxy is ztunnel, by chains that only rules of
// Istio's ambient mode have (Istio, cni/pkg/iptables and cni/pkg/nftables), or
// meshvm's for it.
func (r Ruleset) ambient() bool {
	for k := range r.Chains {
		if strings.HasPrefix(k.Table, "istio-ambient-") || k.Chain == "ISTIO_PRERT" || k.isRepair() && k.Chain == "mark_prerouting" {
			return true
		}
	}
	return false
}

// hasChain reports whether the table has a chain whose name begins so.
func (r Ruleset) hasChain(k ChainKey, prefix string) bool {
	for other := range r.Chains {
		if other.Family == k.Family && other.Table == k.Table && strings.HasPrefix(other.Chain, prefix) {
			return true
		}
	}
	return false
}

// repairNames match what a comment in meshvm's table begins with: "N1: " or
// "N2, N5: ".
var repairNames = regexp.MustCompile(`^(N\d+(?:, N\d+)*): `)

// repairs are the names of the repairs that a comment of meshvm's begins with.
func repairs(comment string) []string {
	m := repairNames.FindStringSubmatch(comment)
	if m == nil {
		return nil
	}
	return strings.Split(m[1], ", ")
}
