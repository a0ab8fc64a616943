// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/gate"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nft/kernel"
	"meshvm.io/meshvm/internal/ruleio"
)

func gatedPlan() ruleio.NATPlan {
	p := plan()
	p.Gate = &ruleio.Gate{Port: ruleio.GatePort, AnswerPort: ruleio.GateAnswerPort}
	return p
}

// wantGate checks the gate like the gate container. All checks have the same
// source port, so each one meets the entry that the last one has left in the
// connection tracking table.
func (l *lab) wantGate(t *testing.T, when string, open bool) {
	t.Helper()
	const clientPorts = "/proc/sys/net/ipv4/ip_local_port_range"
	var err error
	l.in(l.pod, func() error {
		before, failed := os.ReadFile(clientPorts)
		if failed == nil {
			failed = os.WriteFile(clientPorts, []byte("40001 40001"), 0)
		}
		if failed != nil {
			return failed
		}
		err = gate.Check(t.Context())
		return os.WriteFile(clientPorts, before, 0)
	})
	t.Logf("%s: %v", when, err)
	if open != (err == nil) || err != nil && !errors.Is(err, gate.ErrShut) {
		t.Errorf("%s: got %v, want open: %t", when, err, open)
	}
}

// TestGate checks the gate at each step of a pod's life cycle. The guest
// listens on both ports of the gate, and some variants of KubeVirt's rules
// forward 127.0.0.1 to it.
func TestGate(t *testing.T) {
	t.Parallel()
	for name, stock := range map[string]struct {
		istio    istio
		kubevirt kubevirt
	}{
		"iptables, VMI annotation":           {istioIptables, annotated},
		"nftables, VMI annotation":           {istioNftables, annotated},
		"iptables, label only, no port list": {istioIptables, withoutList},
		"nftables, label only, no port list": {istioNftables, withoutList},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			table := rulesOf(t, gatedPlan())
			l.wantGate(t, "an empty namespace", false)
			l.writeIstio(stock.istio)
			l.wantGate(t, "Istio's rules", false)
			l.in(l.pod, func() error { return meshvmTable.Replace(table.Shut().Table) })
			l.wantGate(t, "meshvm's table, written and not verified", false)
			r := l.apply(gatedPlan())
			l.wantGate(t, "verified, without a bridge", true)
			if r.TableDigest != table.Digest() {
				t.Errorf("digest %s, want the digest of the table with an open gate, %s", r.TableDigest, table.Digest())
			}
			l.addGuest()
			l.writeKubeVirt(stock.kubevirt)
			l.startServers()
			for _, p := range []uint16{ruleio.GatePort, ruleio.GateAnswerPort} {
				l.serveTCP(l.guest, guestIP, int(p), answer(serverGuest))
			}
			l.wantGate(t, "the guest runs", true)
			l.sendAll(t, after, steady(t, column{stock.istio, stock.kubevirt, []family{ipv4}}))
			for _, command := range []string{
				"delete table inet meshvm", "flush chain inet meshvm output", "flush set inet meshvm gate",
				"add table inet meshvm { flags dormant; }",
			} {
				l.output(l.pod, command+"\n", "nft", "-f", "-")
				l.wantGate(t, command, false)
				l.apply(gatedPlan())
				l.wantGate(t, "written again", true)
			}
		})
	}
}

// TestGateStaysShutAfterChange changes a rule between reading back and opening
// the gate, so the verified state is not the current state.
func TestGateStaysShutAfterChange(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	table := rulesOf(t, gatedPlan())
	l.in(l.pod, func() error { return meshvmTable.Replace(table.Shut().Table) })
	verified := l.mustRead()
	l.output(l.pod, "add table ip other\n", "nft", "-f", "-")
	l.in(l.pod, func() error {
		if err := meshvmTable.AddElements(*table.Gate(), verified.Generation); !errors.Is(err, kernel.ErrChanged) {
			t.Errorf("got %v, want ErrChanged", err)
		}
		return nil
	})
	l.wantGate(t, "after the change", false)
	now := l.mustRead()
	l.in(l.pod, func() error { return meshvmTable.AddElements(*table.Gate(), now.Generation) })
	l.wantGate(t, "verified again", true)
	if differences := nft.Compare(table.Table, l.mustRead().Table); len(differences) > 0 {
		t.Error(differences)
	}
}

// TestGateProgram runs the program like the gate container, as a user without
// privileges. It waits, and exits after the rules are verified.
func TestGateProgram(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	program, err := os.Open(ruleWriterProgram(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = program.Close() }()
	run := func(args ...string) *exec.Cmd {
		// By its descriptor, because the user may not have access to the
		// directory.
		c := exec.CommandContext(t.Context(), "/proc/self/fd/3", append([]string{"gate"}, args...)...)
		c.ExtraFiles = []*os.File{program}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: proxyUID, Gid: proxyUID, NoSetGroups: true}}
		l.in(l.pod, c.Start)
		return c
	}
	if err := run("-check").Wait(); err == nil {
		t.Error("a shut gate passed the check")
	}
	waiting, ended := run("-wait"), make(chan error, 1)
	go func() { ended <- waiting.Wait() }()
	select {
	case err := <-ended:
		t.Fatalf("the program did not wait for the rules: %v", err)
	case <-time.After(absenceLimit):
	}
	begin := time.Now()
	l.apply(gatedPlan())
	select {
	case err := <-ended:
		t.Logf("exited with %v, %d ms after the rules were requested", err, time.Since(begin).Milliseconds())
		if err != nil {
			t.Error(err)
		}
	case <-time.After(waitLimit):
		t.Error("the program is still waiting")
	}
	if err := run("-check").Wait(); err != nil {
		t.Errorf("an open gate did not pass the check: %v", err)
	}
}
