// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strconv"

	openshiftv1 "github.com/openshift/api/config/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/internal/servingcert"
	"meshvm.io/meshvm/internal/startgate"
	"meshvm.io/meshvm/internal/tlsprofile"
	"meshvm.io/meshvm/internal/validate"
	meshwebhook "meshvm.io/meshvm/internal/webhook"
)

// Names in config/webhook.
const (
	webhookService       = "meshvm-webhook"
	webhookConfiguration = "meshvm"
	webhookSecret        = "meshvm-webhook-ca"
)

// servers are the metrics server and the webhook server.
type servers struct {
	config *configv1alpha1.OperatorConfiguration
	// profile is the TLS profile of both servers.
	profile *tlsprofile.Current
	// follow makes the servers follow the TLS profile of the cluster again. It
	// is nil before start.
	follow func()
	// certificate configures the self-managed certificate of the webhook
	// server. It is nil if the webhook is disabled or its certificate is
	// mounted.
	certificate *servingcert.Options
	// authority issues the self-managed certificate. It is set by start.
	authority *servingcert.Authority
}

func newServers(c *configv1alpha1.OperatorConfiguration, namespace string) servers {
	s := servers{config: c, profile: &tlsprofile.Current{}}
	if c.Webhook.Mode == configv1alpha1.Enabled && c.Webhook.CertificateSource == configv1alpha1.CertificateSelfManaged {
		s.certificate = &servingcert.Options{
			Secret:        types.NamespacedName{Namespace: namespace, Name: webhookSecret},
			Configuration: webhookConfiguration,
			DNSNames:      []string{webhookService + "." + namespace + ".svc", webhookService + "." + namespace},
		}
	}
	return s
}

// choose selects a TLS profile.
func (s *servers) choose(p configv1alpha1.TLSProfile) {
	if p == configv1alpha1.TLSProfileCluster {
		s.profile.Choose(nil)
		if s.follow != nil {
			s.follow()
		}
		return
	}
	named := tlsprofile.Named(openshiftv1.TLSProfileType(p))
	s.profile.Choose(&named)
}

// addTo adds the servers to the options of a manager.
func (s *servers) addTo(o *manager.Options) {
	if s.certificate != nil {
		servingcert.AddToCache(&o.Cache, *s.certificate)
	}
	o.Metrics = server.Options{
		BindAddress:    s.config.Metrics.BindAddress,
		SecureServing:  true,
		FilterProvider: filters.WithAuthenticationAndAuthorization,
		TLSOpts:        []func(*tls.Config){s.profile.Apply},
	}
	if dir := s.config.Metrics.CertificateDirectory; dir != "" {
		// With CertDir, the server would check for the files only once, at its
		// start.
		get := servingcert.FromDirectory(dir)
		o.Metrics.TLSOpts = append(o.Metrics.TLSOpts, func(c *tls.Config) { c.GetCertificate = get })
	}
	host, text, _ := net.SplitHostPort(s.config.Webhook.BindAddress) // The configuration has been validated.
	port, _ := strconv.Atoi(text)
	o.WebhookServer = webhook.NewServer(webhook.Options{
		Host: host, Port: port, CertDir: s.config.Webhook.CertificateDirectory,
		TLSOpts: []func(*tls.Config){s.profile.Apply, func(c *tls.Config) {
			if s.authority != nil {
				c.GetCertificate = s.authority.GetCertificate
			}
		}},
	})
}

// start adds the servers to the manager and to its readiness checks. The function returns
// the facts about the cluster on which the acceptance of a spec depends.
func (s *servers) start(ctx context.Context, mgr ctrl.Manager, cluster func(context.Context) validate.Cluster) error {
	var err error
	if s.follow, err = tlsprofile.Follow(ctx, mgr, s.profile); err != nil {
		return err
	}
	if s.config.Webhook.Mode == configv1alpha1.Disabled {
		return nil
	}
	gate := s.config.Guests.StartGateResources
	meshwebhook.Setup(ctx, mgr, startgate.Options{
		Resources: startgate.Resources{CPU: *gate.CPU, CPULimit: *gate.CPULimit, Memory: *gate.Memory},
		Image:     s.config.RuleWriter.Image, PullPolicy: corev1.PullPolicy(s.config.RuleWriter.ImagePullPolicy),
	})
	meshwebhook.SetupSpec(mgr, cluster)
	if s.certificate != nil {
		if s.authority, err = servingcert.Setup(mgr, *s.certificate); err != nil {
			return err
		}
		if err := mgr.AddReadyzCheck("webhook-certificate", s.authority.Ready); err != nil {
			return fmt.Errorf("add the readiness check of the webhook certificate: %w", err)
		}
	}
	// The first call of GetWebhookServer adds the server to the manager.
	return mgr.AddReadyzCheck("webhook", mgr.GetWebhookServer().StartedChecker())
}
