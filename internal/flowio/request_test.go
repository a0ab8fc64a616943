// SPDX-License-Identifier: Apache-2.0

package flowio

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
)

func validRequest(change func(*Request)) Request {
	r := Request{
		Version: RequestVersion, PodUID: "uid-1", PodIPs: []string{"10.244.0.8"},
		Flow: Flow{From: FromOutside, Protocol: ProtocolTCP, DestinationPort: 8080},
	}
	change(&r)
	return r
}

func TestDecodeRequest(t *testing.T) {
	encode := func(change func(*Request)) string {
		b, err := json.Marshal(validRequest(change))
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	valid := encode(func(*Request) {})
	for name, tc := range map[string]struct {
		text string
		// want is a substring of the error. If empty, the request must be
		// accepted.
		want string
	}{
		"valid":                 {valid, ""},
		"least":                 {`{"version":"` + RequestVersion + `","podUID":"a","flow":{}}`, ""},
		"both families":         {encode(func(r *Request) { r.Flow.Source, r.Flow.Destination = "10.0.0.1", "::1" }), "two families"},
		"mapped address":        {encode(func(r *Request) { r.Flow.Source, r.Flow.Destination = "::ffff:10.0.0.1", "10.0.0.2" }), ""},
		"not JSON":              {"{", "unexpected EOF"},
		"unknown field":         {strings.Replace(valid, `"podUID"`, `"more":1,"podUID"`, 1), "unknown field"},
		"trailing data":         {valid + "{}", "data after"},
		"other version":         {encode(func(r *Request) { r.Version = "v9" }), `version "v9"`},
		"no pod":                {encode(func(r *Request) { r.PodUID = "" }), "podUID"},
		"pod without address":   {encode(func(r *Request) { r.PodIPs = []string{"x"} }), "podIPs[0]"},
		"interface too long":    {encode(func(r *Request) { r.Bridge = strings.Repeat("b", 16) }), "interface name"},
		"name of bridge grows":  {encode(func(r *Request) { r.PodInterface = strings.Repeat("b", 15) }), "interface name"},
		"too long":              {encode(func(r *Request) { r.DurationMilliseconds = MaxDuration.Milliseconds() + 1 }), "duration"},
		"negative duration":     {encode(func(r *Request) { r.DurationMilliseconds = -1 }), "duration"},
		"too many flows":        {encode(func(r *Request) { r.MaxFlows = MaxFlows + 1 }), "maxFlows"},
		"from nowhere":          {encode(func(r *Request) { r.Flow.From = "moon" }), "flow.from"},
		"protocol":              {encode(func(r *Request) { r.Flow.Protocol = "sctp" }), "flow.protocol"},
		"ping with a port":      {encode(func(r *Request) { r.Flow.Protocol = ProtocolICMP }), "no ports"},
		"source is a name":      {encode(func(r *Request) { r.Flow.Source = "db" }), "flow.source"},
		"destination in a zone": {encode(func(r *Request) { r.Flow.Destination = "fe80::1%eth0" }), "flow.destination"},
		"too many bytes":        {strings.Repeat(" ", MaxRequestBytes+1), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := DecodeRequest([]byte(tc.text))
			switch {
			case tc.want == "" && err != nil:
				t.Error(err)
			case tc.want != "" && (!errors.Is(err, ErrInvalidRequest) || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want ErrInvalidRequest with %q", err, tc.want)
			}
		})
	}
}

func TestFlowString(t *testing.T) {
	for want, f := range map[string]Flow{
		"any protocol": {},
		"tcp from the guest destination 203.0.113.9 destination port 443": {
			From: FromGuest, Protocol: ProtocolTCP, Destination: "203.0.113.9", DestinationPort: 443,
		},
		"udp source 10.0.0.1 source port 53": {Protocol: ProtocolUDP, Source: "10.0.0.1", SourcePort: 53},
	} {
		if got := f.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// FuzzDecodeRequest decodes arbitrary requests, which must not cause a panic.
// Accepted requests must result in rules.
func FuzzDecodeRequest(f *testing.F) {
	b, err := json.Marshal(validRequest(func(*Request) {}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"version":"` + RequestVersion + `","podUID":"a","flow":{"source":"::1","protocol":"udp"}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRequest(b)
		if err != nil {
			if !errors.Is(err, ErrInvalidRequest) {
				t.Errorf("error %v does not wrap ErrInvalidRequest", err)
			}
			return
		}
		r = r.WithDefaults()
		if r.Duration() <= 0 || r.MaxFlows <= 0 || r.Flow.String() == "" {
			t.Errorf("%+v is not bounded", r)
		}
	})
}
