package main

import (
	"crypto/tls"
	"fmt"

	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	"meshvm.io/meshvm/internal/servingcert"
)

// Names of config/webhook.
const (
	webhookService       = "meshvm-webhook"
	webhookConfiguration = "meshvm"
	webhookSecret        = "meshvm-webhook-ca"
)

// webhookServer is the server of admission webhooks, and how it gets its
// certificate.
type webhookServer struct {
	webhook.Server
	// certificate are for a certificate of the operator's own; nil when it is
	// mounted.
	certificate *servingcert.Options
	authority   *servingcert.Authority
}

// newWebhookServer makes a server that takes its certificate from the files in
// certDir, or from the operator's own authority when that is empty.
func newWebhookServer(port int, certDir, namespace string) *webhookServer {
	w := &webhookServer{}
	if certDir == "" {
		w.certificate = &servingcert.Options{
			Secret:        types.NamespacedName{Namespace: namespace, Name: webhookSecret},
			Configuration: webhookConfiguration,
			DNSNames:      []string{webhookService + "." + namespace + ".svc", webhookService + "." + namespace},
		}
	}
	w.Server = webhook.NewServer(webhook.Options{Port: port, CertDir: certDir, TLSOpts: []func(*tls.Config){func(c *tls.Config) {
		if w.authority != nil {
			c.GetCertificate = w.authority.GetCertificate
		}
	}}})
	return w
}

// start adds the server to the manager, and to what has to be ready.
func (w *webhookServer) start(mgr ctrl.Manager) error {
	if w.certificate != nil {
		var err error
		if w.authority, err = servingcert.Setup(mgr, *w.certificate); err != nil {
			return err
		}
		if err := mgr.AddReadyzCheck("webhook-certificate", w.authority.Ready); err != nil {
			return fmt.Errorf("add the check of the webhook's certificate: %w", err)
		}
	}
	// The first call makes the manager start the server.
	return mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker())
}
