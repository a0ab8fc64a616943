// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// sizes are numbers of rules or of elements of a set.
var sizes = []int{1, 10, 100, 1000}

// BenchmarkScale measures in turn, for increasing sizes:
//
//	bare   one netlink batch, encoded in advance, and its acknowledgment
//	ours   plan, write, read back and compare
//	istio  Istio's istio-iptables from start to exit, in a new network namespace
//
// In "elements", the user excludes this number of outbound ports. These are
// elements of one set in meshvm's table and rules in Istio's tables. In
// "rules", meshvm's table has this number of rules, which no plan requires.
// Istio's tables are the same as before.
func BenchmarkScale(b *testing.B) {
	for _, n := range sizes {
		p := excluding(n)
		b.Run(fmt.Sprintf("elements/%d", n), func(b *testing.B) {
			benchmarkScale(b, n, func() nft.Table { return build(b, p) })
		})
	}
	for _, n := range sizes {
		table := manyRules(build(b, plan()), n)
		b.Run(fmt.Sprintf("rules/%d", n), func(b *testing.B) {
			benchmarkScale(b, n, func() nft.Table { return table })
		})
	}
}

// excluding returns a plan that excludes the given number of outbound ports.
func excluding(n int) ruleio.NATPlan {
	p := plan()
	p.Outbound = ruleio.Outbound{}
	for i := range n {
		p.Outbound.ExcludePorts = append(p.Outbound.ExcludePorts, ruleio.Ports(uint16(20000+2*i))...)
	}
	return p
}

// manyRules returns a table with one chain that has the given number of rules.
func manyRules(t nft.Table, n int) nft.Table {
	chain := t.Chains[0]
	rule := chain.Rules[len(chain.Rules)-1]
	chain.Rules = nil
	for range n {
		chain.Rules = append(chain.Rules, rule)
	}
	t.Chains = []nft.Chain{chain}
	return t
}

func benchmarkScale(b *testing.B, n int, planned func() nft.Table) {
	b.Helper()
	l := newLab(b)
	messages := l.bareBatch(b, planned())
	ports := make([]string, n)
	for i := range ports {
		ports[i] = strconv.Itoa(20000 + 2*i)
	}
	arguments := append(istioArguments(istioIptables, []family{ipv4}), "-o", strings.Join(ports, ","))
	var bare, ours, istio []time.Duration
	var allocations uint64
	for b.Loop() {
		bare = append(bare, l.timed(func() error { return send(messages) }))
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		ours = append(ours, l.timed(func() error { return applyAndCompare(planned()) }))
		runtime.ReadMemStats(&after)
		allocations += after.Mallocs - before.Mallocs
		fresh := newLab(b)
		istio = append(istio, fresh.timed(func() error {
			return exec.Command(upstreamPrograms(b).pilotAgent, arguments...).Run()
		}))
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(bare).Microseconds()), "µs-bare")
	b.ReportMetric(float64(median(ours).Microseconds()), "µs-ours")
	b.ReportMetric(float64(median(istio).Microseconds()), "µs-istio")
	b.ReportMetric(float64(allocations)/float64(len(ours)), "allocs-ours")
	b.ReportMetric(float64(median(ours))/float64(median(bare)), "ours/bare")
	b.ReportMetric(float64(median(ours))/float64(median(istio)), "ours/istio")
}
