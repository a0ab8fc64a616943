// SPDX-License-Identifier: Apache-2.0

package ruleio

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func request() Request {
	return Request{
		Version: RequestVersion,
		Targets: []Target{
			{
				Operation: OperationApply, PodUID: "uid-1", PodIPs: []string{"10.244.0.8"},
				Plan: &NATPlan{
					PodInterface: "eth0", Bridge: "k6t-eth0",
					Families: []Family{{Name: FamilyIPv4, Guest: "10.0.2.2", Gateway: "10.0.2.1", Pod: "10.244.0.8"}},
					Proxy:    Proxy{InboundPort: 15006, OutboundPort: 15001, LocalPorts: []uint16{15021}},
					Inbound:  Inbound{Mesh: []uint16{80}, DirectTCP: Ports(22), DirectUDP: Ports(53)},
					Outbound: Outbound{ExcludePorts: Ports(5432), ExcludeUDP: []PortRange{{50, 60}}, ExcludeCIDRs: []string{"10.0.0.0/8"}},
				},
			},
			{Operation: OperationRemove, PodUID: "uid-2", PodIPs: []string{"10.244.0.9"}},
		},
	}
}

func TestRequestRoundTrip(t *testing.T) {
	b, err := request().Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeRequest(b)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(request(), got); diff != "" {
		t.Errorf("decoded (-want +got):\n%s", diff)
	}
	digest, err := got.Digest()
	if err != nil || digest != DigestOf(b) {
		t.Errorf("digest %s, %v, want that of the encoded request, %s", digest, err, DigestOf(b))
	}
}

func TestDecodeRequestRejects(t *testing.T) {
	valid := func(change func(r *Request)) string {
		r := request()
		change(&r)
		b, err := r.Encode()
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for name, tc := range map[string]struct {
		text string
		// want is a substring of the error.
		want string
	}{
		"nothing":           {"", "EOF"},
		"no object":         {"[]", "array"},
		"data after it":     {valid(func(*Request) {}) + "{}", "data after the value"},
		"unknown field":     {`{"version":"` + RequestVersion + `","rules":"flush ruleset"}`, "rules"},
		"no version":        {valid(func(r *Request) { r.Version = "" }), `version ""`},
		"newer version":     {valid(func(r *Request) { r.Version = "meshvm.io/rule-request/v2" }), "v2"},
		"no targets":        {valid(func(r *Request) { r.Targets = nil }), "no targets"},
		"no pod":            {valid(func(r *Request) { r.Targets[1].PodUID = "" }), "targets[1].podUID"},
		"no addresses":      {valid(func(r *Request) { r.Targets[0].PodIPs = nil }), "targets[0].podIPs"},
		"unknown operation": {valid(func(r *Request) { r.Targets[0].Operation = "Flush" }), "targets[0].operation"},
		"no plan":           {valid(func(r *Request) { r.Targets[0].Plan = nil }), "targets[0].plan"},
		"no plan to verify": {valid(func(r *Request) { r.Targets[1].Operation = OperationVerify }), "targets[1].plan"},
		"reset to verify":   {valid(func(r *Request) { r.Targets[0].Operation, r.Targets[0].Reset = OperationVerify, true }), "targets[0].reset"},
		"text in a range":   {strings.Replace(valid(func(*Request) {}), "[5432]", `["1-x"]`, 1), "port range"},
		"plan for removal":  {valid(func(r *Request) { r.Targets[1].Plan = &NATPlan{} }), "targets[1].plan"},
		"port too large":    {strings.Replace(valid(func(*Request) {}), "[5432]", "[65536]", 1), "port range"},
		"negative port":     {strings.Replace(valid(func(*Request) {}), "[5432]", "[-1]", 1), "port range"},
		"too long":          {strings.Repeat(" ", MaxRequestBytes+1), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeRequest([]byte(tc.text))
			if !errors.Is(err, ErrInvalidRequest) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want ErrInvalidRequest with %q", err, tc.want)
			}
		})
	}
}

func TestEncodeRejectsLargeRequest(t *testing.T) {
	r := request()
	for i := range 20000 {
		r.Targets[1].PodIPs = append(r.Targets[1].PodIPs, fmt.Sprintf("10.0.%d.%d", i/256, i%256))
	}
	if _, err := r.Encode(); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("error %v, want ErrInvalidRequest", err)
	}
	if _, err := r.Digest(); !errors.Is(err, ErrInvalidRequest) {
		t.Errorf("digest: error %v, want ErrInvalidRequest", err)
	}
}

// FuzzDecodeRequest decodes arbitrary input, which must not cause a panic. An
// accepted request must be unchanged after encoding and decoding.
func FuzzDecodeRequest(f *testing.F) {
	b, err := request().Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Add([]byte(`{"version":"` + RequestVersion + `","targets":[{"operation":"Remove","podUID":"a","podIPs":[""]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		first, err := DecodeRequest(b)
		if err != nil {
			if !errors.Is(err, ErrInvalidRequest) {
				t.Errorf("error %v does not wrap ErrInvalidRequest", err)
			}
			return
		}
		encoded, err := first.Encode()
		if err != nil {
			t.Skip("the encoding exceeds the limit") //nolint:forbidigo // A property of the input.
		}
		second, err := DecodeRequest(encoded)
		if err != nil {
			t.Fatalf("%q: %v", encoded, err)
		}
		again, err := second.Encode()
		if err != nil || string(again) != string(encoded) {
			t.Errorf("%q was encoded as %q", encoded, again)
		}
	})
}
