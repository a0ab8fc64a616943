// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/requirement"
	"meshvm.io/meshvm/internal/ruleio"
)

// certificate returns a certificate that signs itself, with an identity, and its key, in PEM.
func certificate(t *testing.T, identity string, expiry time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	name, err := url.Parse(identity)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: expiry, URIs: []*url.URL{name}, IsCA: true, BasicConstraintsValid: true}
	signed, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: signed})), string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: encoded}))
}

// listenerFile is the file from which an Envoy reads its listeners.
type listenerFile struct {
	t               *testing.T
	lab             *lab
	path, cert, key string
}

// newListenerFile returns a file that the user of Envoy can read.
func newListenerFile(t *testing.T, l *lab, cert, key string) *listenerFile {
	t.Helper()
	dir := t.TempDir()
	for _, d := range []string{filepath.Dir(dir), dir} {
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	return &listenerFile{t: t, lab: l, path: filepath.Join(dir, "lds.json"), cert: cert, key: key}
}

// chain returns a filter chain, which demands a client certificate if tls is set.
func (f *listenerFile) chain(name string, match map[string]any, tls bool) map[string]any {
	filters := f.lab.envoyListener(inboundPort)["filter_chains"].([]any)[0].(map[string]any)["filters"]
	c := map[string]any{"name": name, "filter_chain_match": match, "filters": filters}
	inline := func(text string) map[string]any { return map[string]any{"inline_string": text} }
	if tls {
		c["transport_socket"] = typed("transport_sockets.tls.v3.DownstreamTlsContext", "", map[string]any{
			"require_client_certificate": true,
			"common_tls_context": map[string]any{
				"tls_certificates":   []any{map[string]any{"certificate_chain": inline(f.cert), "private_key": inline(f.key)}},
				"validation_context": map[string]any{"trusted_ca": inline(f.cert)},
			},
		})
	}
	return c
}

// write replaces the file by a rename, which Envoy watches.
func (f *listenerFile) write(chains ...any) {
	f.t.Helper()
	inbound := f.lab.envoyListener(inboundPort)
	inbound["filter_chains"] = chains
	inbound["listener_filters"] = append(inbound["listener_filters"].([]any), typed("listener.tls_inspector.v3.TlsInspector", "filters.", nil))
	var resources []any
	for _, listener := range []map[string]any{inbound, f.lab.envoyListener(outboundPort)} {
		listener["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener"
		resources = append(resources, listener)
	}
	b, err := json.Marshal(map[string]any{"resources": resources})
	if err == nil {
		err = os.WriteFile(f.path+".new", b, 0o644)
	}
	if err == nil {
		err = os.Rename(f.path+".new", f.path)
	}
	if err != nil {
		f.t.Fatal(err)
	}
}

// TestProxyState audits a pod before and while a real Envoy runs in it, and replaces Envoy's
// inbound listener.
func TestProxyState(t *testing.T) {
	program, err := envoyProgram()
	if err != nil {
		requirement.Kernel.Unmet(t, "Envoy is not available: %v", err)
	}
	l := newLab(t)
	l.addGuest()
	p := plan()
	l.apply(p)
	audit := func() *ruleio.ProxyState {
		r := l.request(ruleio.OperationVerify, &p)
		if r.Outcome != ruleio.OutcomeVerified || r.Proxy == nil {
			t.Fatalf("outcome %s (%s), proxy %+v", r.Outcome, r.Message, r.Proxy)
		}
		return r.Proxy
	}
	if got := audit(); got.Error != "/server_info: connect: connection refused" {
		t.Errorf("without a proxy: %+v", got)
	}

	const identity = "spiffe://cluster.local/ns/shop/sa/web"
	expiry := time.Now().Add(time.Hour).Truncate(time.Second)
	cert, key := certificate(t, identity, expiry)
	lds := newListenerFile(t, l, cert, key)
	chain, write := lds.chain, lds.write
	port := int(p.Inbound.Mesh[0])
	mutual := chain("mutual", map[string]any{"transport_protocol": "tls"}, true)
	write(mutual)
	l.startEnvoyWith(t, program, map[string]any{
		"node":              map[string]any{"id": "one", "cluster": "one"},
		"admin":             map[string]any{"address": socketAddress("127.0.0.1", adminPort)},
		"static_resources":  map[string]any{"clusters": []any{l.envoyCluster(inboundPort, true), l.envoyCluster(outboundPort, false)}},
		"dynamic_resources": map[string]any{"lds_config": map[string]any{"path_config_source": map[string]any{"path": lds.path}, "resource_api_version": "V3"}},
	})
	await := func(what string, done func(*ruleio.ProxyState) bool) {
		t.Helper()
		for begin := time.Now(); ; time.Sleep(20 * time.Millisecond) {
			got := audit()
			if done(got) {
				return
			}
			if time.Since(begin) > waitLimit {
				t.Fatalf("%s: the proxy is %+v", what, got)
			}
		}
	}
	begin := time.Now()
	got := audit()
	t.Logf("an audit with a proxy took %s: %+v", time.Since(begin).Round(time.Millisecond/10), got)
	all := ruleio.Ports(p.Inbound.Mesh...)
	if got.Phase != ruleio.ProxyLive || got.Configuration != ruleio.ProxySynced || !slices.Equal(got.Strict, all) ||
		got.Identity != identity || got.CertificateExpiry != expiry.Unix() || got.Version == "" {
		t.Errorf("strict: %+v", got)
	}

	plainMatch := map[string]any{"destination_port": port, "transport_protocol": "raw_buffer"}
	write(mutual, chain("further", plainMatch, false))
	await("a chain for plain text", func(s *ruleio.ProxyState) bool { return slices.Equal(s.Disabled, all[:1]) })
	write(mutual, chain("further", plainMatch, false), chain("both", map[string]any{"destination_port": port, "transport_protocol": "tls"}, true))
	await("chains for both", func(s *ruleio.ProxyState) bool { return slices.Equal(s.Permissive, all[:1]) })
	write(mutual, mutual)
	await("a rejected update", func(s *ruleio.ProxyState) bool {
		return s.Configuration == ruleio.ProxyRejected && slices.Equal(s.Permissive, all[:1])
	})
}
