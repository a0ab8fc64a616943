// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/ruleio"
)

// BenchmarkRuleWriter measures in turn:
//
//	bare     one netlink batch with meshvm's rules, encoded in advance, and its acknowledgment
//	apply    encode, batch, read back, compare: the rule-writer's work in a network namespace
//	process  the rule-writer's process from start to exit
//	istio    Istio's istio-iptables from start to exit, in a new network namespace
//
// It reports medians and their ratios, which are more reliable than times on a
// busy machine.
func BenchmarkRuleWriter(b *testing.B) {
	l := newLab(b)
	table := build(b, plan())
	request, result := l.requestFiles(b)
	program := ruleWriterProgram(b)
	proc := l.proc()
	messages := l.bareBatch(b, table)

	var bare, apply, process, istio []time.Duration
	b.ReportAllocs()
	for b.Loop() {
		bare = append(bare, l.timed(func() error { return send(messages) }))
		apply = append(apply, l.timed(func() error { return applyAndCompare(table) }))
		process = append(process, l.timed(func() error {
			return exec.Command(program, "-request", request, "-result", result, "-proc", proc).Run()
		}))
		fresh := newLab(b)
		istio = append(istio, fresh.timed(func() error {
			return exec.Command(upstreamPrograms(b).pilotAgent, istioArguments(istioIptables, []family{ipv4})...).Run()
		}))
	}
	report := func(name string, of, by []time.Duration) {
		b.ReportMetric(float64(median(of))/float64(median(by)), name)
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(median(bare).Microseconds()), "µs-bare")
	b.ReportMetric(float64(median(apply).Microseconds()), "µs-apply")
	b.ReportMetric(float64(median(process).Microseconds()), "µs-process")
	b.ReportMetric(float64(median(istio).Microseconds()), "µs-istio")
	report("apply/bare", apply, bare)
	report("process/istio", process, istio)
	report("apply/istio", apply, istio)
}

// BenchmarkApply measures the allocations of the rule-writer's work in a
// network namespace.
func BenchmarkApply(b *testing.B) {
	table := build(b, plan())
	l := newLab(b)
	l.in(l.pod, func() error {
		b.ReportAllocs()
		for b.Loop() {
			if err := applyAndCompare(table); err != nil {
				return err
			}
		}
		return nil
	})
}

// BenchmarkBareBatch is the baseline of BenchmarkApply.
func BenchmarkBareBatch(b *testing.B) {
	l := newLab(b)
	messages := l.bareBatch(b, build(b, plan()))
	l.in(l.pod, func() error {
		b.ReportAllocs()
		for b.Loop() {
			if err := send(messages); err != nil {
				return err
			}
		}
		return nil
	})
}

// timed runs f in the pod's network namespace and measures only its time.
func (l *lab) timed(f func() error) (took time.Duration) {
	l.t.Helper()
	l.in(l.pod, func() error {
		start := time.Now()
		err := f()
		took = time.Since(start)
		return err
	})
	return took
}

func median(d []time.Duration) time.Duration {
	d = slices.Clone(d)
	slices.Sort(d)
	return d[len(d)/2]
}

func applyAndCompare(table nft.Table) error {
	k := meshvmTable
	if err := k.Replace(table); err != nil {
		return err
	}
	s, err := k.Read()
	if err == nil && len(nft.Compare(table, s.Table)) > 0 {
		err = errors.New("the table that was read back differs")
	}
	return err
}

// requestFiles writes the lab's request and returns its file and a file for the
// result.
func (l *lab) requestFiles(b testing.TB) (request, result string) {
	b.Helper()
	p := plan()
	text, err := json.Marshal(ruleio.Request{
		Version: ruleio.RequestVersion,
		Targets: []ruleio.Target{{Operation: ruleio.OperationApply, PodUID: podUID, PodIPs: []string{podIP}, Plan: &p}},
	})
	if err != nil {
		b.Fatal(err)
	}
	dir := b.TempDir()
	request = filepath.Join(dir, "request.json")
	if err := os.WriteFile(request, text, 0o600); err != nil {
		b.Fatal(err)
	}
	return request, filepath.Join(dir, "result")
}

// send sends a bare batch: all messages are encoded, and one acknowledgment is
// received.
func send(messages []netlink.Message) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if len(messages) > sizes[len(sizes)-1] {
		if err := conn.SetWriteBuffer(4 << 20); err != nil {
			return err
		}
	}
	if _, err := conn.SendMessages(messages); err != nil {
		return err
	}
	_, err = conn.Receive()
	return err
}

// bareBatch returns the messages of a batch that writes the pod's table,
// encoded directly with google/nftables.
func (l *lab) bareBatch(b *testing.B, table nft.Table) []netlink.Message {
	b.Helper()
	var messages []netlink.Message
	l.in(l.pod, func() error {
		if err := applyAndCompare(table); err != nil {
			return err
		}
		var err error
		messages, err = copied(table)
		return err
	})
	// Only the last message is acknowledged, and no message is echoed.
	last := len(messages) - 2
	for i := range messages {
		h := &messages[i].Header
		h.Flags &^= netlink.Acknowledge | unix.NLM_F_ECHO
		h.Sequence, h.PID = 0, 0
		if i == last {
			h.Flags |= netlink.Acknowledge
		}
	}
	l.in(l.pod, func() error {
		if err := send(messages); err != nil {
			return err
		}
		s, err := meshvmTable.Read()
		if err == nil && len(nft.Compare(table, s.Table)) > 0 {
			err = errors.New("the bare batch writes a different table")
		}
		return err
	})
	return messages
}

// errCaptured prevents the messages of a batch from being sent.
var errCaptured = errors.New("captured")

// copied reads the table with google/nftables and encodes a batch that replaces
// the table with an equal table.
func copied(table nft.Table) ([]netlink.Message, error) {
	var messages []netlink.Message
	in := &nftables.Conn{}
	out, err := nftables.New(nftables.WithTestDial(func(sent []netlink.Message) ([]netlink.Message, error) {
		messages = append(messages, sent...)
		return nil, errCaptured
	}))
	if err != nil {
		return nil, err
	}
	t := &nftables.Table{Family: nftables.TableFamilyINet, Name: table.Name}
	out.AddTable(t)
	out.DelTable(t)
	out.AddTable(t)
	sets, err := in.GetSets(t)
	if err != nil {
		return nil, err
	}
	for _, s := range sets {
		elements, err := in.GetSetElements(s)
		if err != nil {
			return nil, err
		}
		if err := out.AddSet(s, elements); err != nil {
			return nil, err
		}
	}
	chains, err := in.ListChainsOfTableFamily(nftables.TableFamilyINet)
	if err != nil {
		return nil, err
	}
	for _, c := range chains {
		out.AddChain(c)
		rules, err := in.GetRules(t, c)
		if err != nil {
			return nil, err
		}
		for _, r := range rules {
			out.AddRule(&nftables.Rule{Table: t, Chain: c, Exprs: r.Exprs, UserData: r.UserData})
		}
	}
	if err := out.Flush(); !errors.Is(err, errCaptured) {
		return nil, err
	}
	return messages, nil
}
