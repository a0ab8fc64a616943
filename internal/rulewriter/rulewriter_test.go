// SPDX-License-Identifier: Apache-2.0

package rulewriter

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nft/kernel"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
)

const (
	podUID = "0b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11"
	podIP  = "10.244.0.8"
	inode  = 4026532000
)

func plan() *ruleio.NATPlan {
	return &ruleio.NATPlan{
		PodInterface: "eth0",
		Bridge:       "k6t-eth0",
		Families:     []ruleio.Family{{Name: ruleio.FamilyIPv4, Guest: "10.0.2.2", Gateway: "10.0.2.1", Pod: podIP}},
		Proxy:        ruleio.Proxy{InboundPort: 15006, OutboundPort: 15001},
		Inbound:      ruleio.Inbound{Mesh: []uint16{8080}},
	}
}

// node is an in-memory node with one pod. With zero values, no operation fails.
type node struct {
	table *nft.Table

	findErr, addressErr, enterErr, replaceErr, readErr, removeErr error
	// tamper changes the table while it is written.
	tamper func(t *nft.Table)
	// keep prevents the removal of the table.
	keep bool
	// addresses are the addresses in the pod's namespace. If nil, the default
	// addresses are used.
	addresses []netns.Address
	// twins means that a container has given the pod's address to its own
	// namespace.
	twins bool

	// beforeOpen is called before each attempt to open the gate, which fails if
	// the generation changes.
	beforeOpen func(n *node)
	generation uint32

	opened, closed, writes, openings int
	clock                            time.Time
}

func (n *node) deps() Deps {
	return Deps{
		Find: func(uid string) ([]Namespace, error) {
			if n.findErr != nil {
				return nil, n.findErr
			}
			if uid != podUID {
				return nil, netns.ErrNotFound
			}
			n.opened += 2
			// The first namespace was created by a container.
			return []Namespace{namespace{n, 1}, namespace{n, inode}}, nil
		},
		Kernel: fakeKernel{n},
		Proxy:  func(ruleio.NATPlan) *ruleio.ProxyState { return nil },
		Now: func() time.Time {
			n.clock = n.clock.Add(250 * time.Microsecond)
			return n.clock
		},
	}
}

type namespace struct {
	*node
	number uint64
}

func (n namespace) Inode() uint64 { return n.number }

func (n namespace) Addresses() ([]netns.Address, error) {
	out := []netns.Address{{Interface: "lo", IP: netip.MustParseAddr("127.0.0.1")}}
	switch {
	case n.number != inode && !n.twins:
	case n.addresses != nil:
		out = append(out, n.addresses...)
	default:
		out = append(out, netns.Address{Interface: "eth0", IP: netip.MustParseAddr(podIP)})
	}
	return out, n.addressErr
}

func (n namespace) Do(f func() error) error {
	if n.enterErr != nil {
		return n.enterErr
	}
	return f()
}

func (n namespace) Close() error { n.closed++; return nil }

type fakeKernel struct{ *node }

func (k fakeKernel) Replace(t nft.Table) error {
	if k.replaceErr != nil {
		return k.replaceErr
	}
	if k.tamper != nil {
		k.tamper(&t)
	}
	k.table = &t
	k.writes++
	k.generation++
	return nil
}

func (k fakeKernel) AddElements(s nft.Set, generation uint32) error {
	if k.beforeOpen != nil {
		k.beforeOpen(k.node)
	}
	if generation != k.generation {
		return kernel.ErrChanged
	}
	k.table.Set(s.Name).Elements = s.Elements
	k.generation++
	k.openings++
	return nil
}

func (k fakeKernel) Remove() error {
	if k.removeErr == nil && !k.keep {
		k.table = nil
	}
	return k.removeErr
}

func (k fakeKernel) Read() (nft.Snapshot, error) {
	switch {
	case k.readErr != nil:
		return nft.Snapshot{}, k.readErr
	case k.table == nil:
		return nft.Snapshot{}, kernel.ErrNoTable
	default:
		t := *k.table
		t.Sets = slices.Clone(t.Sets)
		return nft.Snapshot{Table: t, Generation: k.generation}, nil
	}
}

func encode(t *testing.T, targets ...ruleio.Target) []byte {
	t.Helper()
	b, err := ruleio.Request{Version: ruleio.RequestVersion, Targets: targets}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func target(change func(t *ruleio.Target)) ruleio.Target {
	out := ruleio.Target{Operation: ruleio.OperationApply, PodUID: podUID, PodIPs: []string{podIP}, Plan: plan()}
	if change != nil {
		change(&out)
	}
	return out
}

func toVerification(t *ruleio.Target) { t.Operation = ruleio.OperationVerify }

func toRemoval(t *ruleio.Target) { t.Operation, t.Plan = ruleio.OperationRemove, nil }

// ending is a target with the expected outcome.
type ending struct {
	node   node
	target func(t *ruleio.Target)
	want   ruleio.Outcome
	code   ruleio.ExitCode
	// message is a substring of the message.
	message string
}

var (
	errOther  = errors.New("other")
	foreign   = []netns.Address{{Interface: "eth0", IP: netip.MustParseAddr("10.244.0.9")}}
	elsewhere = []netns.Address{{Interface: "ens3", IP: netip.MustParseAddr(podIP)}}
)

// written is the table of plan.
var written = func() *nft.Table {
	table, err := nftrules.Build(*plan())
	if err != nil {
		panic(err)
	}
	return &table.Table
}()

// shortened is the table of plan without the last chain.
func shortened() *nft.Table {
	table := *written
	table.Chains = table.Chains[:len(table.Chains)-1]
	return &table
}

var endings = map[string]ending{
	"applied":            {want: ruleio.OutcomeApplied},
	"removed":            {node: node{table: written}, target: toRemoval, want: ruleio.OutcomeRemoved},
	"no table to remove": {target: toRemoval, want: ruleio.OutcomeRemoved},

	"verified": {node: node{table: written}, target: toVerification, want: ruleio.OutcomeVerified},
	"table is missing": {
		target: toVerification, want: ruleio.OutcomeDrifted, message: "the table is missing",
	},
	"table differs": {
		node: node{table: shortened()}, target: toVerification, want: ruleio.OutcomeDrifted, message: "chain local_input is missing",
	},
	"verification fails": {
		node: node{readErr: kernel.ErrBusy}, target: toVerification,
		want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable, message: "read the table",
	},

	"pod deleted":           {node: node{findErr: netns.ErrNotFound}, want: ruleio.OutcomeTargetGone, code: ruleio.ExitTargetGone},
	"host network":          {node: node{findErr: netns.ErrHostNetwork}, want: ruleio.OutcomeIdentityMismatch, code: ruleio.ExitRetryable},
	"host PIDs not visible": {node: node{findErr: netns.ErrHiddenProcesses}, want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable},
	"bad UID":               {node: node{findErr: netns.ErrInvalidUID}, want: ruleio.OutcomeInvalid, code: ruleio.ExitTerminal},
	"not Linux":             {node: node{findErr: netns.ErrUnsupported}, want: ruleio.OutcomeUnsupported, code: ruleio.ExitTerminal},
	"another pod's address": {
		node: node{addresses: foreign}, want: ruleio.OutcomeIdentityMismatch, code: ruleio.ExitRetryable,
		message: "no interface has one of the pod's addresses",
	},
	"another pod's address, removal": {
		node: node{addresses: foreign, table: written}, target: toRemoval,
		want: ruleio.OutcomeIdentityMismatch, code: ruleio.ExitRetryable,
	},
	"two namespaces with the pod's address": {
		node: node{twins: true}, want: ruleio.OutcomeIdentityMismatch, code: ruleio.ExitRetryable,
		message: "both have one of the pod's addresses",
	},
	"two namespaces with the pod's address, verification": {
		node: node{twins: true, table: written}, target: toVerification,
		want: ruleio.OutcomeIdentityMismatch, code: ruleio.ExitRetryable,
	},
	"address on another interface": {
		node: node{addresses: elsewhere},
		want: ruleio.OutcomeInvalid, code: ruleio.ExitTerminal, message: `plan.podInterface is "eth0", but 10.244.0.8 is on "ens3"`,
	},
	"addresses unreadable": {node: node{addressErr: errOther}, want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable},
	"cannot join":          {node: node{enterErr: errOther}, want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable},

	"invalid plan": {
		target: func(t *ruleio.Target) { t.Plan.Bridge = "" },
		want:   ruleio.OutcomeInvalid, code: ruleio.ExitTerminal, message: "plan.bridge",
	},
	"invalid address": {
		target: func(t *ruleio.Target) { t.PodIPs = []string{"x"} },
		want:   ruleio.OutcomeInvalid, code: ruleio.ExitTerminal, message: "podIPs[0]",
	},
	"plan of another pod": {
		target: func(t *ruleio.Target) { t.Plan.Families[0].Pod = "10.244.0.9" },
		want:   ruleio.OutcomeInvalid, code: ruleio.ExitTerminal, message: "plan.families[0].pod",
	},

	"old kernel": {
		node: node{replaceErr: fmt.Errorf("chain prerouting: %w", kernel.ErrUnsupported)},
		want: ruleio.OutcomeUnsupported, code: ruleio.ExitTerminal, message: "chain prerouting",
	},
	"write fails":     {node: node{replaceErr: errOther}, want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable, message: "write the table"},
	"read-back fails": {node: node{readErr: kernel.ErrBusy}, want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable, message: "read the table back"},
	"read-back finds no table": {
		node: node{readErr: kernel.ErrNoTable}, want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable,
	},
	"read-back differs": {
		node: node{tamper: func(t *nft.Table) { t.Chains = t.Chains[:3] }},
		want: ruleio.OutcomeMismatch, code: ruleio.ExitRetryable, message: "chain local_input is missing",
	},
	"removal fails":              {node: node{removeErr: errOther}, target: toRemoval, want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable},
	"removal cannot be verified": {node: node{readErr: errOther}, target: toRemoval, want: ruleio.OutcomeFailed, code: ruleio.ExitRetryable},
	"removal without effect": {
		node: node{table: written, keep: true}, target: toRemoval,
		want: ruleio.OutcomeMismatch, code: ruleio.ExitRetryable, message: "still exists",
	},
}

func TestRun(t *testing.T) {
	for name, tc := range endings {
		t.Run(name, func(t *testing.T) {
			n := tc.node
			r := Run(context.Background(), n.deps(), encode(t, target(tc.target)))
			if len(r.Targets) != 1 {
				t.Fatalf("no targets: %s", r.Message)
			}
			got := r.Targets[0]
			if got.Outcome != tc.want || r.ExitCode() != tc.code {
				t.Errorf("ended with %s (exit %d): %s, want %s (exit %d)", got.Outcome, r.ExitCode(), got.Message, tc.want, tc.code)
			}
			if n.writes > 0 && tc.want == ruleio.OutcomeDrifted {
				t.Error("the verification changed the table")
			}
			if done := tc.code == ruleio.ExitOK && tc.want != ruleio.OutcomeDrifted; done != (got.Message == "") {
				t.Errorf("message %q of outcome %s", got.Message, got.Outcome)
			}
			if !strings.Contains(got.Message, tc.message) {
				t.Errorf("message %q does not contain %q", got.Message, tc.message)
			}
			if n.opened != n.closed {
				t.Errorf("%d namespaces opened, %d closed", n.opened, n.closed)
			}
		})
	}
}

func TestResultOfApply(t *testing.T) {
	n := node{}
	request := encode(t, target(nil))
	table, err := nftrules.Build(*plan())
	if err != nil {
		t.Fatal(err)
	}
	want := ruleio.Result{
		Version:       ruleio.ResultVersion,
		RequestDigest: ruleio.DigestOf(request),
		Targets: []ruleio.TargetResult{{
			PodUID: podUID, Outcome: ruleio.OutcomeApplied, TableDigest: table.Digest(), NetnsInode: inode,
			Rules: table.RuleCount(), DurationMicroseconds: 250, Counters: &ruleio.Counters{},
		}},
	}
	if diff := cmp.Diff(want, Run(context.Background(), n.deps(), request)); diff != "" {
		t.Errorf("result (-want +got):\n%s", diff)
	}
}

func TestTargetsAreIndependent(t *testing.T) {
	n := node{}
	r := Run(context.Background(), n.deps(), encode(t,
		target(func(t *ruleio.Target) { t.PodUID = "gone" }),
		target(func(t *ruleio.Target) { t.Plan.Bridge = "" }),
		target(nil),
	))
	var got []ruleio.Outcome
	for _, tr := range r.Targets {
		got = append(got, tr.Outcome)
	}
	want := []ruleio.Outcome{ruleio.OutcomeTargetGone, ruleio.OutcomeInvalid, ruleio.OutcomeApplied}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("outcomes (-want +got):\n%s", diff)
	}
	if r.ExitCode() != ruleio.ExitTerminal {
		t.Errorf("exit %d, want %d", r.ExitCode(), ruleio.ExitTerminal)
	}
}

func TestInvalidRequest(t *testing.T) {
	for name, request := range map[string]string{
		"empty":         "",
		"no JSON":       "{",
		"other version": `{"version":"v0","targets":[]}`,
		"no targets":    `{"version":"` + ruleio.RequestVersion + `","targets":[]}`,
		"port too large": strings.Replace(string(encode(t, target(nil))),
			`"mesh":[8080]`, `"mesh":[70000]`, 1),
	} {
		t.Run(name, func(t *testing.T) {
			n := node{}
			r := Run(context.Background(), n.deps(), []byte(request))
			if len(r.Targets) != 0 || r.Message == "" || r.ExitCode() != ruleio.ExitTerminal || n.opened != 0 {
				t.Errorf("result %+v, exit %d", r, r.ExitCode())
			}
			if r.RequestDigest != ruleio.DigestOf([]byte(request)) {
				t.Error("the result does not contain the digest of its request")
			}
		})
	}
}

func TestCanceledContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n := node{}
	r := Run(ctx, n.deps(), encode(t, target(nil)))
	if got := r.Targets[0]; got.Outcome != ruleio.OutcomeFailed || n.writes != 0 {
		t.Errorf("ended with %s after %d writes", got.Outcome, n.writes)
	}
}
