// SPDX-License-Identifier: Apache-2.0

package proxystate

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/ruleio"
)

// The files in testdata are answers of Envoy 1.39.3 with the configuration of istiod 1.31 for
// a pod with a Service and these modes: Strict for 8080, 5432 and 8443, Permissive for 7000,
// and Disable for 7001. The filters of the chains and most of the node's data were removed.
var answers = map[string]string{
	"/server_info": "server_info.json",
	"/listeners":   "listeners.json",
	"/certs":       "certs.json",
	"/stats":       "stats.txt",
	"name_regex":   "inbound.json",
	"error_state":  "updates.json",
}

func plan(ports ...uint16) ruleio.NATPlan {
	return ruleio.NATPlan{Proxy: ruleio.Proxy{InboundPort: 15006}, Inbound: ruleio.Inbound{Mesh: ports}}
}

func testdata(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// envoy returns the answers of testdata with replacements of text, by file.
func envoy(t testing.TB, replace map[string][]string) func(path string) string {
	t.Helper()
	files := map[string]string{}
	for _, file := range answers {
		files[file] = strings.NewReplacer(replace[file]...).Replace(testdata(t, file))
	}
	return func(path string) string {
		for part, file := range answers {
			if strings.Contains(path, part) {
				return files[file]
			}
		}
		return ""
	}
}

// serve answers requests like the administration interface, and returns a function that
// connects to it.
func serve(t testing.TB, respond func(path string) string) Dial {
	t.Helper()
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go func() {
				defer func() { _ = conn.Close() }()
				line, err := bufio.NewReader(conn).ReadString('\n')
				if err != nil {
					return
				}
				fmt.Fprint(conn, respond(strings.Fields(line)[1]))
			}()
		}
	}()
	return func(timeout time.Duration) (net.Conn, error) {
		return net.DialTimeout("tcp4", listener.Addr().String(), timeout)
	}
}

// inChunks encodes a body as Envoy does.
func inChunks(body string) string {
	var b strings.Builder
	b.WriteString("HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n")
	for len(body) > 0 {
		n := min(len(body), 1000)
		fmt.Fprintf(&b, "%x\r\n%s\r\n", n, body[:n])
		body = body[n:]
	}
	b.WriteString("0\r\n\r\n")
	return b.String()
}

func ports(p ...uint16) []ruleio.PortRange { return ruleio.Ports(p...) }

func want() ruleio.ProxyState {
	return ruleio.ProxyState{
		Kind: ruleio.ProxyEnvoy, Version: "1.39.3", Phase: ruleio.ProxyLive, Configuration: ruleio.ProxySynced,
		Identity:          "spiffe://cluster.local/ns/pxdump/sa/default",
		CertificateExpiry: time.Date(2026, 12, 2, 2, 46, 18, 0, time.UTC).Unix(),
		Strict:            ports(5432, 8080), Permissive: ports(7000), Disabled: ports(7001),
	}
}

func TestRead(t *testing.T) {
	all := []uint16{5432, 7000, 7001, 8080}
	// tls8080 begins the chain of port 8080, and its first transport socket follows.
	const port8080 = `"destination_port": 8080,`
	for name, tc := range map[string]struct {
		replace map[string][]string
		ports   []uint16
		want    func(*ruleio.ProxyState)
	}{
		"as configured": {want: func(*ruleio.ProxyState) {}},
		"a port without a chain has the mode of all ports": {ports: []uint16{9999}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive, s.Disabled = ports(9999), nil, nil
		}},
		"draining": {replace: map[string][]string{"server_info.json": {"LIVE", "DRAINING"}}, want: func(s *ruleio.ProxyState) { s.Phase = ruleio.ProxyDraining }},
		"starting": {replace: map[string][]string{"server_info.json": {"LIVE", "PRE_INITIALIZING"}}, want: func(s *ruleio.ProxyState) { s.Phase = ruleio.ProxyStarting }},
		"listeners stopped": {replace: map[string][]string{"stats.txt": {"listener_stopped: 0", "listener_stopped: 2"}}, want: func(s *ruleio.ProxyState) {
			s.Phase = ruleio.ProxyDraining
		}},
		"no stream": {replace: map[string][]string{"stats.txt": {"rq_active: 1", "rq_active: 0"}}, want: func(s *ruleio.ProxyState) {
			s.Configuration = ruleio.ProxyStale
		}},
		"rejected": {replace: map[string][]string{"updates.json": {`"name": "virtualInbound"`, `"name": "virtualInbound", "error_state": {"details": "x"}`}}, want: func(s *ruleio.ProxyState) {
			s.Configuration = ruleio.ProxyRejected
		}},
		"without a client certificate": {replace: map[string][]string{"inbound.json": {`"require_client_certificate": true`, `"require_client_certificate": false`}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive, s.Disabled = nil, nil, ports(all...)
		}},
		"certificates of any authority": {replace: map[string][]string{"inbound.json": {`"match_subject_alt_names"`, `"trust_chain_verification": "ACCEPT_UNTRUSTED", "match_subject_alt_names"`}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive, s.Disabled = nil, nil, ports(all...)
		}},
		"certificates without an authority": {replace: map[string][]string{"inbound.json": {`"validation_context_sds_secret_config"`, `"other"`}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive, s.Disabled = nil, nil, ports(all...)
		}},
		"another transport socket": {replace: map[string][]string{"inbound.json": {"v3.DownstreamTlsContext", "v3.StartTlsConfig"}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive, s.Disabled = nil, nil, ports(all...)
		}},
		"a further chain of a port": {replace: map[string][]string{"inbound.json": {`"filter_chains": [`, `"filter_chains": [{"filter_chain_match": {` + port8080 + `"transport_protocol": "raw_buffer"}},`}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive = ports(5432), ports(7000, 8080)
		}},
		"a further chain of other ports": {replace: map[string][]string{"inbound.json": {`"filter_chains": [`, `"filter_chains": [{},`}}, want: func(*ruleio.ProxyState) {}},
		"a default chain": {replace: map[string][]string{"inbound.json": {`"filter_chains": [`, `"default_filter_chain": {}, "filter_chains": [`}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive = nil, ports(5432, 7000, 8080)
		}},
		"a matcher": {replace: map[string][]string{"inbound.json": {`"filter_chains": [`, `"filter_chain_matcher": {}, "filter_chains": [`}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive, s.Disabled = nil, ports(all...), nil
		}},
		"listeners of the original destination": {replace: map[string][]string{"inbound.json": {`"filter_chains": [`, `"use_original_dst": true, "filter_chains": [`}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive = nil, ports(5432, 7000, 8080)
		}},
		"no inbound listener": {replace: map[string][]string{"listeners.json": {"15006", "15007"}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive, s.Disabled = nil, nil, nil
		}},
		"only a warming listener": {replace: map[string][]string{"inbound.json": {"active_state", "warming_state"}}, want: func(s *ruleio.ProxyState) {
			s.Strict, s.Permissive, s.Disabled = nil, nil, nil
		}},
		"no certificate": {replace: map[string][]string{"certs.json": {"cert_chain", "other"}}, want: func(s *ruleio.ProxyState) {
			s.Identity, s.CertificateExpiry = "", 0
		}},
		"an identity with other characters": {replace: map[string][]string{"certs.json": {"spiffe://cluster.local", `spiffe://\u0000`}}, want: func(s *ruleio.ProxyState) {
			s.Identity, s.CertificateExpiry = "", 0
		}},
		"an unknown version": {replace: map[string][]string{"server_info.json": {"1.39.3", "x y"}}, want: func(s *ruleio.ProxyState) { s.Version = "" }},
	} {
		t.Run(name, func(t *testing.T) {
			respond := envoy(t, tc.replace)
			asked := all
			if tc.ports != nil {
				asked = tc.ports
			}
			got := Read(serve(t, func(path string) string { return inChunks(respond(path)) }), plan(asked...))
			w := want()
			tc.want(&w)
			if diff := cmp.Diff(w, *got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestHostileAnswers reads answers of a process that takes the proxy's place.
func TestHostileAnswers(t *testing.T) {
	for name, tc := range map[string]struct{ answer, want string }{
		"nothing":                {"", "EOF"},
		"another protocol":       {"SSH-2.0-OpenSSH\r\n\r\n", "no status 200"},
		"an error":               {"HTTP/1.1 503 Unavailable\r\n\r\n", "no status 200"},
		"a long line":            {strings.Repeat("a", 1<<20), "buffer full"},
		"many headers":           {"HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 1<<16), "headers longer"},
		"no JSON":                {inChunks("<html>"), "invalid character"},
		"another type":           {inChunks("[]"), "unexpected answer"},
		"a truncated body":       {inChunks(`{"version":"`)[:100], "unexpected EOF"},
		"an unknown encoding":    {"HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "transfer encoding"},
		"a negative length":      {"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "invalid length"},
		"a chunk of a huge size": {"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n", "invalid size"},
		"deep nesting":           {inChunks(`{"version":` + strings.Repeat("[", 1<<20)), "exceeded max depth"},
		"too long":               {inChunks(`{"x":"` + strings.Repeat("a", maxAnswer) + `"}`), "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			got := Read(serve(t, func(string) string { return tc.answer }), plan(8080))
			if got.Error == "" || !strings.Contains(got.Error, tc.want) || got.Phase != "" || len(got.Error) > 160 {
				t.Errorf("got %+v, want an error with %q", got, tc.want)
			}
		})
	}
}

// TestRefused checks that the error does not contain numbers that differ between audits,
// because each difference would be written to the status.
func TestRefused(t *testing.T) {
	refused := func(time.Duration) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Source: &net.TCPAddr{Port: 4242}, Err: errors.New("connection refused")}
	}
	if got := Read(refused, plan(8080)).Error; got != "/server_info: connection refused" {
		t.Error(got)
	}
}

// TestSilentProxy checks that a process that never answers does not delay other pods.
func TestSilentProxy(t *testing.T) {
	client, server := net.Pipe()
	t.Cleanup(func() { _ = server.Close() })
	a := admin{dial: func(time.Duration) (net.Conn, error) { return client, nil }, deadline: time.Now().Add(10 * time.Millisecond)}
	if err := a.read(plan(8080), &ruleio.ProxyState{}); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error(err)
	}
}

func FuzzAnswers(f *testing.F) {
	for _, file := range answers {
		f.Add([]byte(inChunks(testdata(f, file))))
	}
	f.Add([]byte("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\n{}\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		dial := func(time.Duration) (net.Conn, error) { return &answering{text: text}, nil }
		got := Read(dial, plan(80, 8080))
		if (got.Error == "") != (got.Phase != "") {
			t.Errorf("state %+v", got)
		}
		r := ruleio.Result{Version: ruleio.ResultVersion, Targets: []ruleio.TargetResult{{Outcome: ruleio.OutcomeVerified, Proxy: got}}}
		if b, err := r.Encode(); err != nil || len(b) > ruleio.MaxResultBytes {
			t.Errorf("%d bytes, %v", len(b), err)
		}
	})
}

// answering is a connection with one answer to every request.
type answering struct {
	net.Conn
	text []byte
}

func (c *answering) Read(b []byte) (int, error) {
	if len(c.text) == 0 {
		return 0, errors.New("closed")
	}
	n := copy(b, c.text)
	c.text = c.text[n:]
	return n, nil
}

func (c *answering) Write(b []byte) (int, error) { return len(b), nil }
func (c *answering) SetDeadline(time.Time) error { return nil }
func (c *answering) Close() error                { return nil }
