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

// caKey is where the Secret has the authority's certificate.
const caKey = "ca.crt"

// AddToCache makes a manager's cache hold the one Secret and the one
// configuration of o, and no others of their kinds.
func AddToCache(c *cache.Options, o Options) {
	c.ByObject[&corev1.Secret{}] = cache.ByObject{Namespaces: map[string]cache.Config{
		o.Secret.Namespace: {FieldSelector: fields.OneTermEqualSelector("metadata.name", o.Secret.Name)},
	}}
	c.ByObject[&admissionv1.MutatingWebhookConfiguration{}] = cache.ByObject{
		Field: fields.OneTermEqualSelector("metadata.name", o.Configuration),
	}
}

// injector keeps the authority in the configuration's caBundle. Every replica
// has one: all come to the same bundle, and each knows what API servers trust.
type injector struct {
	client    client.Client
	authority *Authority
	options   Options
}

// Setup makes an authority and adds it, and what keeps API servers trusting
// it, to a manager whose cache AddToCache has seen.
//
// The rights are in config/webhook, by name: secrets (list, watch, update)
// and mutatingwebhookconfigurations (list, watch, patch).
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
		WithOptions(controller.Options{NeedLeaderElection: &everyReplica}).
		Complete(&injector{client: mgr.GetClient(), authority: a, options: o})
	if err != nil {
		return nil, fmt.Errorf("set up the injection of the webhook's certificate authority: %w", err)
	}
	return a, nil
}

// Reconcile brings the configuration's caBundle up to the Secret.
func (i *injector) Reconcile(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
	var secret corev1.Secret
	if err := i.client.Get(ctx, i.options.Secret, &secret); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	current := parse(secret.Data[caKey])
	if len(current) == 0 {
		return reconcile.Result{}, nil // the authority is about to fill it in
	}
	var config admissionv1.MutatingWebhookConfiguration
	if err := i.client.Get(ctx, types.NamespacedName{Name: i.options.Configuration}, &config); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	before := config.DeepCopy()
	var trusted []*x509.Certificate
	changed := false
	for n := range config.Webhooks {
		c := &config.Webhooks[n].ClientConfig
		trusted = bundle(current, parse(c.CABundle), time.Now())
		if text := encode(trusted); !bytes.Equal(text, c.CABundle) {
			c.CABundle, changed = text, true
		}
	}
	if changed {
		patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
		if err := i.client.Patch(ctx, &config, patch); err != nil {
			return reconcile.Result{}, fmt.Errorf("put the authority into %s: %w", config.Name, err)
		}
		ctrl.LoggerFrom(ctx).Info("API servers are told to trust the authority", "configuration", config.Name, "authorities", len(trusted))
	}
	i.authority.trust(trusted)
	return reconcile.Result{}, nil
}

// bundle is whom API servers have to trust: the current authority, and the
// operator's earlier ones while they are valid, because other replicas go on
// with certificates of those for a moment.
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

// parse reads PEM and leaves out what is no certificate.
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
