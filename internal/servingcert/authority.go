// SPDX-License-Identifier: Apache-2.0

// Package servingcert gives the webhook server a certificate where nobody else
// does: it keeps a certificate authority in one Secret, signs short-lived
// certificates with it, and has the API servers trust it.
//
// Where OLM, OpenShift's service-CA or cert-manager mount a certificate as
// files, none of this runs: controller-runtime's webhook server reads the files
// and reads them again when they change.
//
// The authority itself is cert-manager's library for its own webhook: it reads
// and writes the one named Secret and nothing else.
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

// commonName is the subject of all authorities that the operator ever made.
const commonName = "meshvm-webhook-ca"

// Lifetimes, unless Options name others. A certificate is replaced when two
// thirds of its life are over.
const (
	defaultCALifetime   = 365 * 24 * time.Hour
	defaultLeafLifetime = 7 * 24 * time.Hour
	defaultSettle       = 10 * time.Second
)

// Options say what is kept where.
type Options struct {
	// Secret holds the authority. It has to exist, and may be empty: making
	// Secrets is a right that cannot be given for one name.
	Secret types.NamespacedName
	// Configuration is the name of the MutatingWebhookConfiguration whose
	// webhooks call this server.
	Configuration string
	// DNSNames are those by which API servers call it, for example
	// "meshvm-webhook.meshvm-system.svc".
	DNSNames []string
	// CALifetime is how long an authority is valid; zero means a year.
	CALifetime time.Duration
	// LeafLifetime is how long a certificate is valid; zero means a week.
	LeafLifetime time.Duration
	// Settle is how long API servers may take to notice that they have to
	// trust another authority; zero means ten seconds.
	Settle time.Duration
}

// Authority signs the webhook server's certificates. It is a Runnable of a
// manager, on every replica: each has certificates of its own.
type Authority struct {
	source cmtls.CertificateSource
	settle time.Duration
	now    func() time.Time

	mu      sync.Mutex
	serving *tls.Certificate
	// trusted has, by their DER, the authorities that were seen in the
	// configuration, and since when.
	trusted map[string]trust
}

type trust struct {
	ca    *x509.Certificate
	since time.Time
}

// New makes an authority that reaches the API server by cfg.
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

// Start keeps the authority and the certificate fresh until ctx ends.
func (a *Authority) Start(ctx context.Context) error {
	return a.source.Start(logr.NewContext(ctx, log))
}

// NeedLeaderElection says that every replica has to serve.
func (a *Authority) NeedLeaderElection() bool { return false }

// GetCertificate is for tls.Config. A certificate of an authority that the API
// servers do not trust yet is held back as long as the one before it is valid,
// so that no call fails while an authority is replaced.
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

// trust records that the configuration names just these authorities.
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

// Ready is a readiness check: without a certificate no call can be answered.
func (a *Authority) Ready(*http.Request) error {
	if !a.source.Healthy() {
		return errors.New("there is no certificate yet: the Secret of the authority is missing, or cannot be written")
	}
	return nil
}
