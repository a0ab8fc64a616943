// SPDX-License-Identifier: Apache-2.0

package trace

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/flowio"
)

func sceneResult() Result {
	s := newScene(func(*Request) {})
	s.inbound()
	s.proxy("127.0.0.6:40001", "10.244.0.8:8080", "10.0.2.2:8080")
	s.enter(ownPrerouting, ruleFlow, linkPod, numberTCP, client, "10.244.0.8:22", 3)
	s.hop(ourPrerouting, ruleDirect, verdictAccept)
	s.translate("10.0.2.2:22")
	s.hop(foreignForward, ruleDrop, verdictDrop)
	return Result{Version: ResultVersion, PodUID: "uid-1", Outcome: OutcomeTraced, Flows: s.c.Report(), Chains: s.c.Chains(), Notes: []string{"something was lost"}}
}

func TestText(t *testing.T) {
	want := `tcp 10.244.0.1:40000 -> 10.244.0.8:8080, from outside
    prerouting (10.244.0.1:40000 -> 10.244.0.8:8080)
      meshvm   inet meshvm prerouting: tcp dport @inbound_mesh_tcp redirect to :15006 -> accept (N5: redirect mesh ports to the proxy)
    continued as 10.244.0.1:40000 -> 10.244.0.8:15006
  the proxy's own connection: 127.0.0.6:40001 -> 10.244.0.8:8080
    output (127.0.0.6:40001 -> 10.244.0.8:8080)
      meshvm   inet meshvm output: dnat ip to 10.0.2.2 -> accept (N2, N5: upstream leg)
    continued as 127.0.0.6:40001 -> 10.0.2.2:8080
  => Reached the proxy's inbound port 15006, redirected by meshvm's rule "N5: redirect mesh ports to the proxy" in chain prerouting. The proxy's own connection to 10.244.0.8:8080 reached the guest at 10.0.2.2:8080, by meshvm's rule "N2, N5: upstream leg" in chain output; the guest answered.

tcp 10.244.0.1:40000 -> 10.244.0.8:22, from outside
    prerouting (10.244.0.1:40000 -> 10.244.0.8:22)
      meshvm   inet meshvm prerouting: tcp dport @inbound_direct_tcp dnat ip to 10.0.2.2 -> accept (N2: direct TCP ports bypass the proxy)
    forward (10.244.0.1:40000 -> 10.0.2.2:22)
      another writer inet firewall forward: tcp dport 22 drop
  => Was dropped in forward by another writer's rule "tcp dport 22 drop" in chain forward of table inet firewall.

Note: something was lost
`
	if diff := cmp.Diff(want, sceneResult().Text()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	empty := Result{Message: "No packet was seen."}
	if got := empty.Text(); got != "No packet was seen.\n" {
		t.Errorf("text without flows: %q", got)
	}
}

// TestTextForTerminals checks that a rule of another program cannot control the terminal.
func TestTextForTerminals(t *testing.T) {
	r := sceneResult()
	r.Message = "\x1b[2J"
	r.Flows[0].Legs[0].Hops[0].Comment = "\x1b]0;title\a\u202e"
	if got := r.Text(); strings.ContainsAny(got, "\x1b\a\u202e") {
		t.Errorf("text %q", got)
	}
}

func TestRepairsAreNamed(t *testing.T) {
	r := sceneResult()
	if diff := cmp.Diff([]string{"N2", "N5"}, r.Flows[0].Legs[1].Hops[0].Repairs); diff != "" {
		t.Errorf("repairs (-want +got):\n%s", diff)
	}
	if got := repairs("guest's other TCP connections"); got != nil {
		t.Errorf("repairs %q", got)
	}
}

func TestWriter(t *testing.T) {
	r := sceneRules()
	kubevirt := ChainKey{familyIPv6, "nat", "prerouting"}
	r.Chains[ChainKey{familyIPv6, "nat", "KUBEVIRT_PREINBOUND"}] = ChainInfo{}
	for k, want := range map[ChainKey]string{
		ourPrerouting: writerMeshvm, ownOutput: writerTrace, istioPrerouting: writerIstio, istioInbound: writerIstio,
		kubevirt:                               writerKubeVirt,
		{familyIPv6, "nat", "KUBEVIRT_OTHER"}:  writerKubeVirt,
		{familyIPv6, "nat", "PREROUTING"}:      writerOther,
		{familyIPv4, "nat", "prerouting"}:      writerOther,
		{familyIPv4, repairTable, "output"}:    writerOther,
		{familyInet, "istio-proxy-nat", "any"}: writerIstio,
		foreignForward:                         writerOther,
	} {
		if got := r.writer(k); got != want {
			t.Errorf("the writer of %+v is %s, want %s", k, got, want)
		}
	}
}

func TestEncodeFits(t *testing.T) {
	r := sceneResult()
	whole, err := r.Encode(0)
	if err != nil {
		t.Fatal(err)
	}
	short, err := r.withoutHops().Encode(0)
	if err != nil {
		t.Fatal(err)
	}
	packed, err := flowio.Pack(short)
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		limit, flows int
		hops         bool
	}{
		"whole":                    {len(whole), 2, true},
		"compressed":               {len(whole) - 1, 2, true},
		"compressed, without hops": {len(packed), 2, false},
		"no flow":                  {200, 0, false},
	} {
		t.Run(name, func(t *testing.T) {
			b, err := r.Encode(tc.limit)
			if err != nil || len(b) > tc.limit {
				t.Fatalf("%d bytes, %v", len(b), err)
			}
			got, err := DecodeResult(b)
			if err != nil || len(got.Flows) != tc.flows {
				t.Fatalf("%d flows, %v", len(got.Flows), err)
			}
			if tc.hops {
				if diff := cmp.Diff(r, got); diff != "" {
					t.Errorf("result (-want +got):\n%s", diff)
				}
			} else if len(got.Flows) > 0 && got.Flows[0].Legs[0].Hops != nil {
				t.Error("hops are left")
			}
		})
	}
	if _, err := r.Encode(10); !errors.Is(err, ErrInvalidResult) {
		t.Errorf("error %v, want ErrInvalidResult", err)
	}
}

func TestDecodeResult(t *testing.T) {
	version := `{"version":"` + ResultVersion + `","flows":[`
	for _, text := range []string{
		"", "panic", `{"version":"v9"}`, version + `{}]}`, version + `{"legs":[{},{},{}]}]}`, version + strings.Repeat(`{"legs":[{}]},`, MaxFlows) + `{"legs":[{}]}]}`,
	} {
		if _, err := DecodeResult([]byte(text)); !errors.Is(err, ErrInvalidResult) {
			t.Errorf("%q: error %v, want ErrInvalidResult", text, err)
		}
	}
}

func TestVerdictWords(t *testing.T) {
	for want, e := range map[string]Event{
		"goto X":   {Kind: EventRule, Verdict: verdictGoto, Target: "X"},
		"return":   {Kind: EventRule, Verdict: verdictReturn},
		"continue": {Kind: EventRule, Verdict: verdictBreak},
		"queue":    {Kind: EventRule, Verdict: 3 | 7<<16},
		"stolen":   {Kind: EventRule, Verdict: verdictStolen},
		"unknown":  {Kind: EventRule, Verdict: -9},
	} {
		if got := e.verdictWords(); got != want {
			t.Errorf("%+v: %q, want %q", e, got, want)
		}
	}
	if (Event{Kind: 9}).ends() || (Event{Kind: EventReturn}).ends() {
		t.Error("a return ends the path of a packet")
	}
	if !strings.Contains(answerWords("it", "odd"), "not seen") {
		t.Error("an unknown answer has text")
	}
}

// TestSummary checks that the manager reads the part of a result that it shows.
func TestSummary(t *testing.T) {
	r := sceneResult()
	b, err := r.Encode(0)
	if err != nil {
		t.Fatal(err)
	}
	got, err := flowio.Summarize(b)
	if err != nil {
		t.Fatal(err)
	}
	want := flowio.Summary{Version: ResultVersion, PodUID: r.PodUID, Outcome: string(r.Outcome)}
	for _, f := range r.Flows {
		s := flowio.FlowSummary{From: f.From, Summary: f.Summary, Ending: string(f.Ending), Answer: string(f.Answer), ViaProxy: f.ViaProxy}
		for _, l := range f.Legs {
			s.Legs = append(s.Legs, flowio.LegSummary{Protocol: l.Protocol, Source: l.Source, Destination: l.Destination})
		}
		want.Flows = append(want.Flows, s)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("summary (-want +got):\n%s", diff)
	}
}
