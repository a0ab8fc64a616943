// SPDX-License-Identifier: Apache-2.0

package servingcert

import (
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/util/cert"
)

// TestFromDirectory adds a certificate to a running server and replaces it.
func TestFromDirectory(t *testing.T) {
	dir := t.TempDir()
	get := FromDirectory(dir)
	served := func(want string) *x509.Certificate {
		t.Helper()
		c, err := get(nil)
		if err != nil {
			t.Fatal(err)
		}
		leaf, err := x509.ParseCertificate(c.Certificate[0])
		if err != nil || leaf.VerifyHostname(want) != nil {
			t.Errorf("served certificate is %v (%v), want %s", leaf.DNSNames, err, want)
		}
		return leaf
	}
	if first := served("localhost"); !first.Equal(served("localhost")) {
		t.Error("a new certificate at each handshake")
	}
	for _, name := range []string{"one.example", "two.example"} {
		crt, key, err := cert.GenerateSelfSignedCertKey(name, nil, nil)
		if err := errors.Join(err,
			os.WriteFile(filepath.Join(dir, "tls.crt"), crt, 0o600), os.WriteFile(filepath.Join(dir, "tls.key"), key, 0o600)); err != nil {
			t.Fatal(err)
		}
		served(name)
	}
	if err := os.WriteFile(filepath.Join(dir, "tls.crt"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := get(nil); err == nil {
		t.Error("a corrupt file was served")
	}
}
