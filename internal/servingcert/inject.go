// SPDX-License-Identifier: Apache-2.0

package servingcert

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

var log = ctrl.Log.WithName("servingcert")

// caKey is the key of the authority's certificate in the Secret.
const caKey = "ca.crt"

// AddToCache adds the Secret and the webhook configurations of o to a manager's
// cache. The cache contains no other objects of these kinds.
func AddToCache(c *cache.Options, o Options) {
	c.ByObject[&corev1.Secret{}] = cache.ByObject{Namespaces: map[string]cache.Config{
		o.Secret.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", o.Secret.Name)},
	}}
	for _, object := range []client.Object{&admissionv1.MutatingWebhookConfiguration{}, &admissionv1.ValidatingWebhookConfiguration{}} {
		c.ByObject[object] = cache.ByObject{Field: fields.OneTermEqualSelector("metadata.name", o.Configuration)}
	}
}

// injector writes the authority to the caBundle of the configurations. It runs
// on every replica. All replicas compute the same bundle, and each records
// which authorities API servers trust.
type injector struct {
	client    client.Client
	authority *Authority
	options   Options
}

// Setup creates an authority and adds it to a manager, together with the
// controller of the caBundle. The manager's cache must be configured by
// AddToCache.
//
// The RBAC permissions are in config/webhook and limited by name: secrets
// (list, watch, update), and mutatingwebhookconfigurations and
// validatingwebhookconfigurations (list, watch, patch).
func Setup(mgr ctrl.Manager, o Options) (*Authority, error) {
	a := New(mgr.GetConfig(), o)
	if err := mgr.Add(a); err != nil {
		return nil, fmt.Errorf("add the webhook's certificate authority: %w", err)
	}
	everyReplica := false
	enqueue := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{{NamespacedName: types.NamespacedName{Name: o.Configuration}}}
	})
	err := ctrl.NewControllerManagedBy(mgr).
		Named("servingcert").
		Watches(&corev1.Secret{}, enqueue).
		Watches(&admissionv1.MutatingWebhookConfiguration{}, enqueue).
		Watches(&admissionv1.ValidatingWebhookConfiguration{}, enqueue).
		WithOptions(controller.Options{NeedLeaderElection: &everyReplica}).
		Complete(&injector{client: mgr.GetClient(), authority: a, options: o})
	if err != nil {
		return nil, fmt.Errorf("set up the controller of the webhook's caBundle: %w", err)
	}
	return a, nil
}

// Reconcile updates the caBundle of the configurations from the Secret. The authority
// signs with a new certificate after all of them contain it.
func (i *injector) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var secret corev1.Secret
	if err := i.client.Get(ctx, i.options.Secret, &secret); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	current := parse(secret.Data[caKey])
	if len(current) == 0 {
		return reconcile.Result{}, nil // the authority has not created the certificate yet
	}
	var mutating admissionv1.MutatingWebhookConfiguration
	var validating admissionv1.ValidatingWebhookConfiguration
	var trusted []*x509.Certificate
	for _, c := range []struct {
		object client.Object
		hooks  func() []*admissionv1.WebhookClientConfig
	}{
		{&validating, func() []*admissionv1.WebhookClientConfig {
			return each(validating.Webhooks, func(w *admissionv1.ValidatingWebhook) *admissionv1.WebhookClientConfig { return &w.ClientConfig })
		}},
		{&mutating, func() []*admissionv1.WebhookClientConfig {
			return each(mutating.Webhooks, func(w *admissionv1.MutatingWebhook) *admissionv1.WebhookClientConfig { return &w.ClientConfig })
		}},
	} {
		found, err := i.inject(ctx, c.object, c.hooks, current)
		if err != nil {
			return reconcile.Result{}, err
		}
		if found != nil {
			trusted = found
		}
	}
	if trusted != nil {
		i.authority.trust(trusted)
	}
	return reconcile.Result{}, nil
}

// inject updates the caBundle of a configuration and returns its authorities. It returns
// none if the configuration does not exist.
func (i *injector) inject(ctx context.Context, config client.Object, hooks func() []*admissionv1.WebhookClientConfig, current []*x509.Certificate) (trusted []*x509.Certificate, err error) {
	if err := i.client.Get(ctx, types.NamespacedName{Name: i.options.Configuration}, config); err != nil {
		return nil, client.IgnoreNotFound(err)
	}
	before, _ := config.DeepCopyObject().(client.Object)
	trusted, changed := []*x509.Certificate{}, false
	for _, c := range hooks() {
		trusted = bundle(current, parse(c.CABundle), time.Now())
		if text := encode(trusted); !bytes.Equal(text, c.CABundle) {
			c.CABundle, changed = text, true
		}
	}
	if changed {
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := i.client.Patch(ctx, config, patch); err != nil {
			return nil, fmt.Errorf("update caBundle in %T %s: %w", config, config.GetName(), err)
		}
		ctrl.LoggerFrom(ctx).Info("Updated caBundle", "configuration", config.GetName(), "kind", fmt.Sprintf("%T", config), "authorities", len(trusted))
	}
	return trusted, nil
}

func each[W any](webhooks []W, config func(*W) *admissionv1.WebhookClientConfig) []*admissionv1.WebhookClientConfig {
	out := make([]*admissionv1.WebhookClientConfig, 0, len(webhooks))
	for n := range webhooks {
		out = append(out, config(&webhooks[n]))
	}
	return out
}

// bundle returns the authorities that API servers have to trust: the current
// authority and the earlier authorities of the operator while they are valid.
// Other replicas use certificates of earlier authorities for a short time.
func bundle(current, before []*x509.Certificate, now time.Time) []*x509.Certificate {
	out := current
	for _, ca := range before {
		known := false
		for _, o := range out {
			known = known || o.Equal(ca)
		}
		if !known && ca.Subject.CommonName == commonName && now.Before(ca.NotAfter) {
			out = append(slices.Clip(out), ca)
		}
	}
	return out
}

// parse decodes PEM and skips blocks that are not certificates.
func parse(text []byte) []*x509.Certificate {
	var out []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			return out
		}
		if c, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, c)
		}
	}
}

func encode(cas []*x509.Certificate) []byte {
	var out []byte
	for _, c := range cas {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return out
}
