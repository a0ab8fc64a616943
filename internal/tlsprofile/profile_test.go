// SPDX-License-Identifier: Apache-2.0

package tlsprofile

import (
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	openshiftv1 "github.com/openshift/api/config/v1"
)

func custom(least openshiftv1.TLSProtocolVersion, names ...string) *openshiftv1.TLSSecurityProfile {
	return &openshiftv1.TLSSecurityProfile{Type: openshiftv1.TLSProfileCustomType, Custom: &openshiftv1.CustomTLSProfile{
		TLSProfileSpec: openshiftv1.TLSProfileSpec{Ciphers: names, MinTLSVersion: least},
	}}
}

func TestOf(t *testing.T) {
	for name, tc := range map[string]struct {
		profile *openshiftv1.TLSSecurityProfile
		least   uint16
		ciphers int
	}{
		"none":                              {nil, tls.VersionTLS12, 6},
		"empty":                             {&openshiftv1.TLSSecurityProfile{}, tls.VersionTLS12, 6},
		"Old":                               {&openshiftv1.TLSSecurityProfile{Type: openshiftv1.TLSProfileOldType}, tls.VersionTLS10, 18},
		"Intermediate":                      {&openshiftv1.TLSSecurityProfile{Type: openshiftv1.TLSProfileIntermediateType}, tls.VersionTLS12, 6},
		"Modern":                            {&openshiftv1.TLSSecurityProfile{Type: openshiftv1.TLSProfileModernType}, tls.VersionTLS13, 0},
		"of a later OpenShift":              {&openshiftv1.TLSSecurityProfile{Type: "PostQuantum"}, tls.VersionTLS13, 0},
		"Custom":                            {custom(openshiftv1.VersionTLS11, "ECDHE-RSA-AES128-GCM-SHA256", "no-such", "ECDHE-RSA-AES128-GCM-SHA256"), tls.VersionTLS11, 1},
		"Custom without a supported cipher": {custom(openshiftv1.VersionTLS12, "DHE-RSA-AES128-GCM-SHA256"), tls.VersionTLS13, 0},
		"Custom, unknown version":           {custom("VersionTLS14", "ECDHE-RSA-AES128-GCM-SHA256"), tls.VersionTLS13, 0},
		"Custom without its settings":       {&openshiftv1.TLSSecurityProfile{Type: openshiftv1.TLSProfileCustomType}, tls.VersionTLS13, 0},
	} {
		got := Of(tc.profile)
		if got.MinVersion != tc.least || len(got.CipherSuites) != tc.ciphers {
			t.Errorf("%s: %s with %d ciphers, want %s with %d", name, tls.VersionName(got.MinVersion), len(got.CipherSuites), tls.VersionName(tc.least), tc.ciphers)
		}
	}
}

// TestEveryCipherIsKnown compares the table with the profiles. Ciphers that are
// missing from the table must belong to TLS 1.3, whose ciphers are not
// configurable.
func TestEveryCipherIsKnown(t *testing.T) {
	of13 := map[string]bool{}
	for _, c := range tls.CipherSuites() {
		of13[c.Name] = len(c.SupportedVersions) == 1 && c.SupportedVersions[0] == tls.VersionTLS13
	}
	for name, p := range openshiftv1.TLSProfiles {
		for _, c := range p.Ciphers {
			if _, ok := ciphers[c]; !ok && !of13[c] {
				t.Errorf("%s: %s is not in the table", name, c)
			}
		}
	}
}

// TestCurrentAppliesToRunningServers changes the profile of a running server.
func TestCurrentAppliesToRunningServers(t *testing.T) {
	var current Current
	certificates := httptest.NewTLSServer(http.NotFoundHandler())
	defer certificates.Close()
	config := &tls.Config{}
	current.Apply(config)
	config.Certificates = certificates.TLS.Certificates // as controller-runtime's servers do after applying their options
	listener, err := tls.Listen("tcp", "127.0.0.1:0", config)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: time.Minute}
	go server.Serve(listener) //nolint:errcheck // until the test ends
	defer server.Close()      //nolint:errcheck // the test ends
	roots := x509.NewCertPool()
	roots.AddCert(certificates.Certificate())
	version := func(most uint16, suites ...uint16) uint16 {
		client := &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS10, MaxVersion: most, CipherSuites: suites} //nolint:gosec // What the server takes is the question.
		conn, err := tls.Dial("tcp", listener.Addr().String(), client)
		if err != nil {
			return 0
		}
		defer conn.Close() //nolint:errcheck // only looked at
		return conn.ConnectionState().Version
	}
	check := func(what string, got, want uint16) {
		t.Helper()
		if got != want {
			t.Errorf("%s: version %x, want %x", what, got, want)
		}
	}
	check("the default rejects TLS 1.1", version(tls.VersionTLS11), 0)
	check("the default accepts TLS 1.2", version(tls.VersionTLS12), tls.VersionTLS12)
	if !current.Set(Named(openshiftv1.TLSProfileModernType)) {
		t.Error("Set reports no change for Modern")
	}
	check("Modern rejects TLS 1.2", version(tls.VersionTLS12), 0)
	check("Modern accepts TLS 1.3", version(tls.VersionTLS13), tls.VersionTLS13)
	current.Set(Of(custom(openshiftv1.VersionTLS12, "ECDHE-RSA-AES256-GCM-SHA384")))
	check("a cipher that is not in the profile", version(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256), 0)
	check("a cipher of the profile", version(tls.VersionTLS12, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384), tls.VersionTLS12)
	old := Named(openshiftv1.TLSProfileOldType)
	current.Choose(&old)
	check("a chosen profile overrides the cluster's profile", version(tls.VersionTLS10), tls.VersionTLS10)
	if current.Set(Named(openshiftv1.TLSProfileModernType)) {
		t.Error("Set reports a change although another profile is chosen")
	}
	current.Choose(nil)
	check("back to the cluster's profile", version(tls.VersionTLS12), 0)
}
