// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nft/kernel"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

// plans contains plans whose tables have different structures.
func plans() map[string]ruleio.NATPlan {
	change := func(f func(p *ruleio.NATPlan)) ruleio.NATPlan {
		p := plan()
		f(&p)
		return p
	}
	return map[string]ruleio.NATPlan{
		"everything": plan(),
		"nothing listed": change(func(p *ruleio.NATPlan) {
			p.Proxy.LocalPorts, p.Inbound, p.Outbound = nil, ruleio.Inbound{}, ruleio.Outbound{}
		}),
		"all networks, extreme ports": change(func(p *ruleio.NATPlan) {
			p.Outbound = ruleio.Outbound{ExcludePorts: ruleio.Ports(1, 2, 3, 65534, 65535), ExcludeCIDRs: []string{"0.0.0.0/0"}}
		}),
		"adjacent networks": change(func(p *ruleio.NATPlan) {
			p.Outbound.ExcludeCIDRs = []string{"0.0.0.0/32", "0.0.0.1/32", "10.0.0.0/9", "10.128.0.0/9", "192.0.2.6/31", "255.255.255.255/32"}
		}),
		"large lists": change(func(p *ruleio.NATPlan) {
			p.Outbound = ruleio.Outbound{}
			for i := range 2000 {
				p.Outbound.ExcludePorts = append(p.Outbound.ExcludePorts, ruleio.Ports(uint16(2*i+1))...)
				p.Outbound.ExcludeCIDRs = append(p.Outbound.ExcludeCIDRs, fmt.Sprintf("10.%d.%d.0/25", i/256, i%256))
			}
			for i := range 2000 {
				p.Outbound.ExcludeCIDRs = append(p.Outbound.ExcludeCIDRs, fmt.Sprintf("2001:db8:%x::/49", i+1))
			}
			p.Families = planOf(ipv4, ipv6).Families
		}),
		"unmeshed dropped, ranges":  unmeshedPlan(ipv4),
		"DNS direct":                change(func(p *ruleio.NATPlan) { p.DNS = &ruleio.DNS{Mode: ruleio.DNSDirect, CapturePort: resolverPort} }),
		"DNS to the proxy":          change(func(p *ruleio.NATPlan) { p.DNS = &ruleio.DNS{Mode: ruleio.DNSProxy, CapturePort: resolverPort} }),
		"both families":             planOf(ipv4, ipv6),
		"IPv6 only":                 planOf(ipv6),
		"both families, everything": everyRuleOf(ipv4, ipv6),
		"IPv6 networks": change(func(p *ruleio.NATPlan) {
			p.Families = planOf(ipv6).Families
			p.Outbound.ExcludeCIDRs = []string{"::/96", "2001:db8::/33", "2001:db8:8000::/64", "2001:db8:8000:1::/65", "fd00::/127", "fd00::2/128", "ff00::/8"}
			p.Outbound.IncludeCIDRs = []string{"::/0"}
		}),
		"gate":                   gatedPlan(),
		"ambient":                ambientPlan(ipv4),
		"ambient, both families": ambientPlan(ipv4, ipv6),
		"other names and addresses": change(func(p *ruleio.NATPlan) {
			p.Bridge = "k6t-0123456789a"
			p.Families[0].Guest, p.Families[0].Gateway = "172.30.255.6", "172.30.255.5"
		}),
	}
}

// meshvmTable is meshvm's table in the network namespace of the calling thread.
var meshvmTable = kernel.Handle{Table: nftrules.TableName}

func build(t testing.TB, p ruleio.NATPlan) nft.Table {
	t.Helper()
	return rulesOf(t, p).Table
}

// rulesOf returns the table of a plan with the purpose of each rule.
func rulesOf(t testing.TB, p ruleio.NATPlan) nftrules.Table {
	t.Helper()
	table, err := nftrules.Build(p)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// read returns the table in the lab's pod.
func (l *lab) read() (s nft.Snapshot, err error) {
	l.in(l.pod, func() error {
		s, err = meshvmTable.Read()
		return nil
	})
	return s, err
}

func (l *lab) mustRead() nft.Snapshot {
	l.t.Helper()
	s, err := l.read()
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

func TestTextEqualsNftListing(t *testing.T) {
	t.Parallel()
	for name, p := range plans() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, ipv4, ipv6)
			l.apply(p)
			if diff := cmp.Diff(build(t, p).TextIn(l.nftStyle()), l.ourTable()); diff != "" {
				t.Errorf("text differs from what nft lists (-ours +nft's):\n%s", diff)
			}
		})
	}
}

// TestNftReadsText writes the table with nft from its text and compares it with
// the table that was written through netlink.
func TestNftReadsText(t *testing.T) {
	t.Parallel()
	for name, p := range plans() {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, ipv4, ipv6)
			want := build(t, p)
			l.output(l.pod, want.Text(), "nft", "-f", "-")
			if differences := nft.Compare(want, l.mustRead().Table); len(differences) > 0 {
				t.Errorf("read back after writing with nft:\n%s", strings.Join(differences, "\n"))
			}
		})
	}
}

func TestApplyIsIdempotent(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	first := l.apply(plan())
	listing := l.ruleset()
	second := l.apply(plan())
	if diff := cmp.Diff(listing, l.ruleset()); diff != "" {
		t.Errorf("the ruleset changed (-first +second):\n%s", diff)
	}
	second.DurationMicroseconds = first.DurationMicroseconds
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("the result changed (-first +second):\n%s", diff)
	}
	if want := build(t, plan()).Digest(); second.TableDigest != want {
		t.Errorf("digest %s, want the digest of the plan's table, %s", second.TableDigest, want)
	}
}

// TestFailedBatchKeepsTable sends a batch that the kernel rejects at its
// end.
func TestFailedBatchKeepsTable(t *testing.T) {
	t.Parallel()
	bad := map[string]struct {
		change func(t *nft.Table)
		want   error
	}{
		"chain that the kernel rejects": {
			// Address translation is not possible before connection tracking.
			func(t *nft.Table) { t.Chains[2].Priority = -250 }, kernel.ErrUnsupported,
		},
		"overlapping elements": {
			func(t *nft.Table) {
				t.Set(nftrules.SetOutboundExcludeIPv4).Elements = []string{"10.0.0.0/8", "10.1.0.0/16"}
			},
			nil,
		},
	}
	for name, tc := range bad {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.apply(plan())
			before := l.ruleset()
			table := build(t, plan())
			tc.change(&table)
			l.in(l.pod, func() error {
				err := meshvmTable.Replace(table)
				t.Logf("rejected: %v", err)
				if err == nil || tc.want != nil && !errors.Is(err, tc.want) {
					t.Errorf("error %v, want %v", err, tc.want)
				}
				return nil
			})
			if diff := cmp.Diff(before, l.ruleset()); diff != "" {
				t.Errorf("the ruleset changed (-before +after):\n%s", diff)
			}
		})
	}
}

func TestRemove(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.writeIstio(istioIptables)
	l.addGuest()
	l.writeKubeVirt(annotated)
	before := l.ruleset()
	l.apply(plan())
	for _, attempt := range []string{"first", "again"} {
		if r := l.request(ruleio.OperationRemove, nil); r.Outcome != ruleio.OutcomeRemoved {
			t.Errorf("%s: outcome %s: %s", attempt, r.Outcome, r.Message)
		}
		if diff := cmp.Diff(before, l.ruleset()); diff != "" {
			t.Errorf("%s: not restored (-before +after):\n%s", attempt, diff)
		}
	}
	if _, err := l.read(); !errors.Is(err, kernel.ErrNoTable) {
		t.Errorf("error %v, want ErrNoTable", err)
	}
}

// TestTableWithoutBridge simulates the target of a migration: meshvm's
// table is written first, then KubeVirt's link and the other rules.
func TestTableWithoutBridge(t *testing.T) {
	t.Parallel()
	for _, i := range []istio{istioIptables, istioNftables} {
		t.Run("Istio "+i.name, func(t *testing.T) {
			l := newLab(t)
			l.apply(plan())
			l.writeIstio(i)
			l.addGuest()
			l.writeKubeVirt(annotated)
			l.startServers()
			l.sendAll(t, after, steady(t, column{i, annotated, []family{ipv4}}))
		})
	}
}

// TestConcurrentWriters runs concurrent writers with different plans. Every
// table that is read must be complete, and the last one must remain.
func TestConcurrentWriters(t *testing.T) {
	t.Parallel()
	const writers, rounds = 4, 25
	l := newLab(t)
	tables := map[string]nft.Table{}
	for w := range writers {
		p := plan()
		p.Inbound.Mesh = []uint16{uint16(8000 + w)}
		table := build(t, p)
		tables[table.Digest()] = table
	}
	var wg sync.WaitGroup
	for _, table := range tables {
		wg.Go(func() {
			err := l.pod.Do(func() error {
				for range rounds {
					if err := meshvmTable.Replace(table); err != nil {
						return err
					}
					s, err := meshvmTable.Read()
					if err != nil && !errors.Is(err, kernel.ErrBusy) {
						return err
					}
					if _, whole := tables[s.Table.Digest()]; err == nil && !whole {
						return fmt.Errorf("read a table that no writer wrote:\n%s", s.Table.Text())
					}
				}
				return nil
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if _, whole := tables[l.mustRead().Table.Digest()]; !whole {
		t.Errorf("the final table was not written by any writer:\n%s", l.ourTable())
	}
}

// TestForeignChangesAreDetected changes meshvm's table with nft. Verification
// must detect each change.
func TestForeignChangesAreDetected(t *testing.T) {
	t.Parallel()
	first := "insert rule inet meshvm prerouting "
	for name, command := range map[string]string{
		"rule in meshvm's format":    first + `iifname "eth0" meta nfproto ipv4 tcp dport @proxy_tcp counter dnat ip to ip daddr comment "N5"`,
		"verdict":                    first + "accept",
		"unknown expression":         first + "meta l4proto tcp limit rate 3/second counter redirect to :15006",
		"wildcard interface":         first + `iifname "k6t*" counter accept`,
		"other port of the redirect": first + `iifname "k6t-eth0" meta nfproto ipv4 meta l4proto tcp counter redirect to :15002`,
		"flags of the redirect":      first + `iifname "k6t-eth0" meta nfproto ipv4 meta l4proto tcp counter redirect to :15001 random`,
		"address and port":           first + `iifname "eth0" meta nfproto ipv4 tcp dport 80 counter dnat ip to 10.0.2.2:81`,
		"map":                        first + `dnat ip to tcp dport map { 80 : 10.0.2.2 }`,
		"deleted rules":              "flush chain inet meshvm output",
		"deleted elements":           "flush set inet meshvm proxy_tcp",
		"additional element":         "add element inet meshvm proxy_tcp { 16000-16010 }",
		"additional chain":           "add chain inet meshvm other",
		"additional base chain":      "add chain inet meshvm dropper { type filter hook input priority 0; policy drop; }",
		"additional set":             "add set inet meshvm other { type ether_addr; flags timeout; }",
		"dormant table":              "add table inet meshvm { flags dormant; }",
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.apply(plan())
			want := build(t, plan())
			l.output(l.pod, command+"\n", "nft", "-f", "-")
			got := l.mustRead().Table
			differences := nft.Compare(want, got)
			t.Log(strings.Join(differences, "; "))
			if len(differences) == 0 || got.Digest() == want.Digest() {
				t.Errorf("change not detected, digest %s, table:\n%s", got.Digest(), got.Text())
			}
			l.apply(plan())
		})
	}
}

// TestCounters checks by the counter of a rule that a connection matched it.
func TestCounters(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	l.addGuest()
	l.writeKubeVirt(annotated)
	l.startServers()
	l.apply(plan())
	p := probe{name: "client to a mesh port", from: fromPeer, network: "tcp4", host: podIP, port: meshPort}
	l.expect(t, p, p.through("15006", serverGuest, gatewayIP))
	s := l.mustRead()
	redirect := nft.Statement{Kind: nft.StatementRedirect, Port: inboundPort}
	i := slices.IndexFunc(s.Counters, func(c nft.RuleCounter) bool {
		return c.Chain == "prerouting" && s.Table.Chains[0].Rules[c.Index].Statement == redirect
	})
	if i < 0 || s.Counters[i].Packets != 1 || s.Counters[i].Bytes == 0 {
		t.Errorf("counters %+v, want one packet at the redirect to %d", s.Counters, inboundPort)
	}
}

// TestIdentity runs the rule-writer on network namespaces that do not belong to
// the pod.
func TestIdentity(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		change func(l *lab, p *ruleio.NATPlan)
		want   ruleio.Outcome
	}{
		"another pod's namespace": {func(l *lab, _ *ruleio.NATPlan) { l.pod = l.guest }, ruleio.OutcomeIdentityMismatch},
		"the host's namespace":    {func(l *lab, _ *ruleio.NATPlan) { l.pod = l.peer }, ruleio.OutcomeIdentityMismatch},
		"another interface":       {func(_ *lab, p *ruleio.NATPlan) { p.PodInterface = "net1" }, ruleio.OutcomeInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			p := plan()
			tc.change(l, &p)
			before := l.ruleset()
			r := l.request(ruleio.OperationApply, &p)
			if r.Outcome != tc.want {
				t.Errorf("outcome %s (%s), want %s", r.Outcome, r.Message, tc.want)
			}
			if diff := cmp.Diff(before, l.ruleset()); diff != "" {
				t.Errorf("rules were written:\n%s", diff)
			}
		})
	}
}
