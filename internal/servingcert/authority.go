// SPDX-License-Identifier: Apache-2.0

// Package servingcert issues the webhook server's certificate if no other
// component does. It keeps a certificate authority in one Secret, signs
// short-lived certificates with it, and adds the authority to the caBundle of
// the webhook configuration.
//
// If OLM, OpenShift service CA or cert-manager mounts a certificate, this
// package is not used. The webhook server of controller-runtime reads the files
// and reloads them when they change.
//
// The authority is the library that cert-manager uses for its own webhook. It
// reads and writes only the named Secret.
package servingcert

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net/http"
	"sync"
	"time"

	cmtls "github.com/cert-manager/cert-manager/pkg/server/tls"
	"github.com/cert-manager/cert-manager/pkg/server/tls/authority"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
)

// commonName is the subject of all authorities that the operator creates.
const commonName = "meshvm-webhook-ca"

// Default lifetimes. A certificate is renewed after two thirds of its lifetime.
const (
	defaultCALifetime   = 365 * 24 * time.Hour
	defaultLeafLifetime = 7 * 24 * time.Hour
	defaultSettle       = 10 * time.Second
)

// Options configure the authority.
type Options struct {
	// Secret contains the authority. It must exist and may be empty, because
	// the permission to create a Secret cannot be limited to one name.
	Secret types.NamespacedName
	// Configuration is the name of the MutatingWebhookConfiguration and of the
	// ValidatingWebhookConfiguration whose webhooks call this server.
	Configuration string
	// DNSNames are the names by which API servers call the server, for example
	// "meshvm-webhook.meshvm-system.svc".
	DNSNames []string
	// CALifetime is the lifetime of an authority. Defaults to one year.
	CALifetime time.Duration
	// LeafLifetime is the lifetime of a certificate. Defaults to one week.
	LeafLifetime time.Duration
	// Settle is the time after which all API servers are expected to use a
	// changed caBundle. Defaults to ten seconds.
	Settle time.Duration
}

// Authority signs the webhook server's certificates. It is a Runnable and runs
// on every replica. Each replica has separate certificates.
type Authority struct {
	source cmtls.CertificateSource
	settle time.Duration
	now    func() time.Time

	mu      sync.Mutex
	serving *tls.Certificate
	// trusted contains the authorities in the caBundle, by their DER encoding,
	// and the time at which they were first seen there.
	trusted map[string]trust
}

type trust struct {
	ca    *x509.Certificate
	since time.Time
}

// New returns an authority that connects to the API server with cfg.
func New(cfg *rest.Config, o Options) *Authority {
	return &Authority{
		source: &cmtls.DynamicSource{
			DNSNames: o.DNSNames,
			Authority: &authority.DynamicAuthority{
				SecretNamespace: o.Secret.Namespace,
				SecretName:      o.Secret.Name,
				RESTConfig:      cfg,
				CommonName:      commonName,
				CADuration:      or(o.CALifetime, defaultCALifetime),
				LeafDuration:    or(o.LeafLifetime, defaultLeafLifetime),
			},
		},
		settle:  or(o.Settle, defaultSettle),
		now:     time.Now,
		trusted: map[string]trust{},
	}
}

func or(d, otherwise time.Duration) time.Duration {
	if d == 0 {
		return otherwise
	}
	return d
}

// Start renews the authority and the certificate until ctx is done.
func (a *Authority) Start(ctx context.Context) error {
	return a.source.Start(logr.NewContext(ctx, log))
}

// NeedLeaderElection returns false because every replica serves the webhook.
func (a *Authority) NeedLeaderElection() bool { return false }

// GetCertificate implements GetCertificate of tls.Config. While the API servers
// do not trust the issuer of a new certificate yet, it returns the previous
// certificate as long as that is valid. No call fails while an authority is
// replaced.
func (a *Authority) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	fresh, err := a.source.GetCertificate(hello)
	if err != nil {
		return nil, err
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.serving != nil && a.serving != fresh && a.now().Before(a.serving.Leaf.NotAfter) && !a.isTrusted(fresh.Leaf) {
		return a.serving, nil
	}
	a.serving = fresh
	return fresh, nil
}

func (a *Authority) isTrusted(leaf *x509.Certificate) bool {
	for _, t := range a.trusted {
		if a.now().Sub(t.since) >= a.settle && leaf.CheckSignatureFrom(t.ca) == nil {
			return true
		}
	}
	return false
}

// trust records the authorities in the caBundle.
func (a *Authority) trust(cas []*x509.Certificate) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.trusted
	a.trusted = make(map[string]trust, len(cas))
	for _, ca := range cas {
		t, known := before[string(ca.Raw)]
		if !known {
			t = trust{ca: ca, since: a.now()}
		}
		a.trusted[string(ca.Raw)] = t
	}
}

// Ready is a readiness check that requires a certificate.
func (a *Authority) Ready(*http.Request) error {
	if !a.source.Healthy() {
		return errors.New("the webhook server does not have a certificate: the Secret of the authority does not exist or cannot be written")
	}
	return nil
}
