// SPDX-License-Identifier: Apache-2.0

package servingcert

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"slices"
	"testing"
	"time"
)

var start = time.Now()

// pair is a certificate with its private key.
type pair struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// issue creates a certificate with the given start and lifetime. Without a
// parent it is an authority.
func issue(t *testing.T, name string, parent *pair, lifetime time.Duration) *pair {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: start, NotAfter: start.Add(lifetime)}
	signer := &pair{c, key}
	if parent != nil {
		signer = parent
	} else {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageCertSign
	}
	der, err := x509.CreateCertificate(rand.Reader, c, signer.cert, &key.PublicKey, signer.key)
	if err != nil {
		t.Fatal(err)
	}
	if c, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	return &pair{c, key}
}

func TestBundle(t *testing.T) {
	current := issue(t, commonName, nil, time.Hour).cert
	valid := issue(t, commonName, nil, time.Hour).cert
	expired := issue(t, commonName, nil, time.Minute).cert
	foreign := issue(t, "cert-manager", nil, time.Hour).cert
	now := start.Add(2 * time.Minute)
	for name, tc := range map[string]struct{ before, want []*x509.Certificate }{
		"empty":                             {nil, []*x509.Certificate{current}},
		"current":                           {[]*x509.Certificate{current}, []*x509.Certificate{current}},
		"an earlier authority":              {[]*x509.Certificate{valid}, []*x509.Certificate{current, valid}},
		"an expired authority":              {[]*x509.Certificate{expired, current}, []*x509.Certificate{current}},
		"an authority with another subject": {[]*x509.Certificate{foreign}, []*x509.Certificate{current}},
		"both in the other order":           {[]*x509.Certificate{valid, current}, []*x509.Certificate{current, valid}},
	} {
		got := bundle([]*x509.Certificate{current}, parse(encode(tc.before)), now)
		if !slices.EqualFunc(got, tc.want, (*x509.Certificate).Equal) {
			t.Errorf("%s: %d certificates, want %d", name, len(got), len(tc.want))
		}
	}
}

func TestParseSkipsOtherBlocks(t *testing.T) {
	ca := issue(t, commonName, nil, time.Hour).cert
	text := append([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), encode([]*x509.Certificate{ca})...)
	if got := parse(text); len(got) != 1 || !got[0].Equal(ca) {
		t.Errorf("%d certificates, want 1", len(got))
	}
}

// source replaces the library's certificate source.
type source struct{ cert *tls.Certificate }

func (s *source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	if s.cert == nil {
		return nil, errors.New("no certificate")
	}
	return s.cert, nil
}
func (s *source) Healthy() bool               { return s.cert != nil }
func (s *source) Start(context.Context) error { return nil }

// TestCertificateIsDelayed replaces an authority step by step.
func TestCertificateIsDelayed(t *testing.T) {
	now := start
	s := &source{}
	a := &Authority{source: s, settle: 10 * time.Second, now: func() time.Time { return now }, trusted: map[string]trust{}}
	serves := func(what string, want *pair) {
		t.Helper()
		got, err := a.GetCertificate(nil)
		if err != nil || !got.Leaf.Equal(want.cert) {
			t.Errorf("%s: another certificate is served (%v)", what, err)
		}
	}
	use := func(p *pair) {
		s.cert = &tls.Certificate{Certificate: [][]byte{p.cert.Raw}, PrivateKey: p.key, Leaf: p.cert}
	}
	if _, err := a.GetCertificate(nil); err == nil || a.Ready(nil) == nil {
		t.Error("ready without a certificate")
	}
	ca1, ca2 := issue(t, commonName, nil, time.Hour), issue(t, commonName, nil, time.Hour)
	first, second := issue(t, "1", ca1, time.Minute), issue(t, "2", ca1, time.Minute)
	third, fourth := issue(t, "3", ca2, time.Minute), issue(t, "4", ca1, 2*time.Minute)

	use(first)
	serves("the first certificate is served without a trusted authority", first)
	if err := a.Ready(nil); err != nil {
		t.Error(err)
	}
	a.trust([]*x509.Certificate{ca1.cert})
	now = now.Add(10 * time.Second)
	use(second)
	serves("the authority of the certificate is trusted", second)
	use(third)
	serves("the new authority is not in the configuration", second)
	a.trust([]*x509.Certificate{ca2.cert, ca1.cert})
	serves("the new authority is in the configuration, but Settle has not elapsed", second)
	now = now.Add(9 * time.Second)
	a.trust([]*x509.Certificate{ca2.cert, ca1.cert})
	serves("just before Settle has elapsed", second)
	now = now.Add(time.Second)
	serves("Settle has elapsed", third)

	a.trust(nil)
	now = start.Add(time.Minute + time.Second)
	use(fourth)
	serves("the previous certificate has expired", fourth)
}
