// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"meshvm.io/meshvm/internal/servingcert"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"meshvm.io/meshvm/test/testenv"
)

// calledWebhook is a webhook that admits ConfigMaps of one namespace, with
// failurePolicy Fail. If the API server cannot call it, ConfigMaps are
// rejected.
type calledWebhook struct {
	*testing.T
	env       *testenv.Env
	namespace string
	config    *admissionv1.MutatingWebhookConfiguration
	port      int

	mu    sync.Mutex
	calls int
	// serials are the serial numbers of the certificates during calls.
	serials map[string]bool
}

// newCalledWebhook registers the webhook. serve starts it.
func newCalledWebhook(t *testing.T, caBundle []byte) *calledWebhook {
	t.Helper()
	w := &calledWebhook{T: t, env: shared.Get(t), serials: map[string]bool{}}
	w.namespace = fmt.Sprintf("webhook-%d", namespaces.Add(1))
	for _, name := range []string{w.namespace, operatorNamespace} {
		err := w.env.Client.Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		if client.IgnoreAlreadyExists(err) != nil {
			t.Fatal(err)
		}
	}
	w.port = freePort(t)
	w.config = &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: w.namespace},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "called.meshvm.io",
			ClientConfig: admissionv1.WebhookClientConfig{
				URL: new(fmt.Sprintf("https://localhost:%d/called", w.port)), CABundle: caBundle,
			},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
			}},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: w.namespace}},
			SideEffects:             ptr.To(admissionv1.SideEffectClassNone),
			FailurePolicy:           ptr.To(admissionv1.Fail),
			TimeoutSeconds:          ptr.To[int32](30),
			AdmissionReviewVersions: []string{"v1"},
		}},
	}
	if err := w.env.Client.Create(t.Context(), w.config); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.env.Client.Delete(context.WithoutCancel(t.Context()), w.config); err != nil {
			t.Error(err)
		}
	})
	return w
}

// serve runs a manager with the webhook server until the test ends.
func (w *calledWebhook) serve(certDir string, cacheOptions cache.Options, setup func(mgr manager.Manager) *servingcert.Authority) {
	w.Helper()
	var authority *servingcert.Authority
	skip := true
	mgr, err := ctrl.NewManager(w.env.Config, manager.Options{
		Scheme: testenv.Scheme(), Cache: cacheOptions,
		Metrics: server.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		Controller: config.Controller{SkipNameValidation: &skip},
		WebhookServer: webhook.NewServer(webhook.Options{
			Host: "127.0.0.1", Port: w.port, CertDir: certDir,
			TLSOpts: []func(*tls.Config){func(c *tls.Config) {
				// With HTTP/1.1, every call can have a separate handshake.
				c.NextProtos = []string{"http/1.1"}
				if authority != nil {
					c.GetCertificate = authority.GetCertificate
				}
			}},
		}),
	})
	if err != nil {
		w.Fatal(err)
	}
	if setup != nil {
		authority = setup(mgr)
	}
	admit := &admission.Webhook{Handler: admission.HandlerFunc(func(context.Context, admission.Request) admission.Response {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.calls++
		return admission.Allowed("")
	})}
	mgr.GetWebhookServer().Register("/called", http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Connection", "close")
		admit.ServeHTTP(rw, r)
	}))
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.Context()))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	w.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.Errorf("the manager exited with: %v", err)
		}
	})
}

// call makes the API server call the webhook, and records the server's current
// certificate.
func (w *calledWebhook) call(n int) error {
	before := w.count()
	err := w.env.Client.Create(w.Context(), &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: fmt.Sprintf("call-%d", n)},
	}, client.DryRunAll)
	if err != nil {
		return err
	}
	if w.count() == before {
		return errors.New("the API server did not call the webhook")
	}
	leaf, err := w.leaf()
	if err != nil {
		return err
	}
	w.serials[leaf.SerialNumber.String()] = true
	return nil
}

func (w *calledWebhook) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls
}

// leaf returns the server's current certificate.
func (w *calledWebhook) leaf() (*x509.Certificate, error) {
	// In this test, only the API server validates the certificate.
	conn, err := tls.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", w.port), &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // only looked at
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // only looked at
	return conn.ConnectionState().PeerCertificates[0], nil
}

// awaitCalls waits until the webhook is called.
func (w *calledWebhook) awaitCalls() {
	w.Helper()
	deadline := time.Now().Add(waitTimeout)
	for {
		err := w.call(0)
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			w.Fatalf("waited %s for the webhook to be called: %v", waitTimeout, err)
		}
		time.Sleep(50 * time.Millisecond) // The API server is another process.
	}
}

// callFor calls the webhook for a duration. Each call must succeed.
func (w *calledWebhook) callFor(d time.Duration, during func(elapsed time.Duration)) int {
	w.Helper()
	begin, n := time.Now(), 1
	for ; time.Since(begin) < d; n++ {
		during(time.Since(begin))
		if err := w.call(n); err != nil {
			w.Fatalf("call %d, %s after the first: %v", n, time.Since(begin).Round(time.Millisecond), err)
		}
		time.Sleep(100 * time.Millisecond) // One call per interval.
	}
	return n
}

// TestSelfManagedCertificates lets the authority and its certificates expire
// several times while the webhook is called.
func TestSelfManagedCertificates(t *testing.T) {
	w := newCalledWebhook(t, nil)
	secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: operatorNamespace, Name: w.namespace}}
	if err := w.env.Client.Create(t.Context(), secret); err != nil {
		t.Fatal(err)
	}
	// Each third of the lifetime of a certificate, in which it is renewed, is longer than
	// the time that the API server needs on a busy machine to read another caBundle.
	const caLifetime, leafLifetime = 72 * time.Second, 24 * time.Second
	options := servingcert.Options{
		Secret: client.ObjectKeyFromObject(secret), Configuration: w.config.Name, DNSNames: []string{"localhost"},
		CALifetime: caLifetime, LeafLifetime: leafLifetime, Settle: 4 * time.Second,
	}
	validating := &admissionv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: w.config.Name},
		Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "validating.meshvm.io", ClientConfig: w.config.Webhooks[0].ClientConfig, SideEffects: ptr.To(admissionv1.SideEffectClassNone), AdmissionReviewVersions: []string{"v1"},
		}},
	}
	if err := w.env.Client.Create(t.Context(), validating); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.env.Client.Delete(context.WithoutCancel(t.Context()), validating) })
	cacheOptions := cache.Options{ByObject: map[client.Object]cache.ByObject{}}
	servingcert.AddToCache(&cacheOptions, options)
	w.serve("", cacheOptions, func(mgr manager.Manager) *servingcert.Authority {
		a, err := servingcert.Setup(mgr, options)
		if err != nil {
			t.Fatal(err)
		}
		return a
	})
	w.awaitCalls()
	authorities := map[string]bool{}
	n := w.callFor(caLifetime+leafLifetime/2, func(time.Duration) {
		var s corev1.Secret
		if err := w.env.Client.Get(t.Context(), client.ObjectKeyFromObject(secret), &s); err != nil {
			t.Fatal(err)
		}
		authorities[string(s.Data["ca.crt"])] = true
	})
	t.Logf("%d calls over %s, none failed: %d certificates of %d authorities", n, caLifetime+leafLifetime/2, len(w.serials), len(authorities))
	if len(authorities) < 2 || len(w.serials) < 4 {
		t.Errorf("%d authorities and %d certificates were in use, want at least 2 and 4", len(authorities), len(w.serials))
	}
	var c admissionv1.MutatingWebhookConfiguration
	if err := w.env.Client.Get(t.Context(), types.NamespacedName{Name: w.config.Name}, &c); err != nil {
		t.Fatal(err)
	}
	if len(c.Webhooks[0].ClientConfig.CABundle) == 0 {
		t.Error("caBundle is empty")
	}
	if err := w.env.Client.Get(t.Context(), client.ObjectKeyFromObject(validating), validating); err != nil || len(validating.Webhooks[0].ClientConfig.CABundle) == 0 {
		t.Errorf("caBundle of the validating webhook is empty (%v)", err)
	}
}

// TestMountedCertificates tests certificates that another component issues and
// the kubelet mounts. The files are replaced before the certificates expire,
// like the kubelet does.
func TestMountedCertificates(t *testing.T) {
	for name, sameAuthority := range map[string]bool{
		"OLM, cert-manager: same authority":             true,
		"OpenShift service CA: authority also replaced": false,
	} {
		t.Run(name, func(t *testing.T) {
			const lifetime = 15 * time.Second
			first, second := newIssuer(t), newIssuer(t)
			if sameAuthority {
				second = first
			}
			// An administrator who replaces an authority trusts both for a
			// while.
			w := newCalledWebhook(t, append(first.pem(), second.pem()...))
			dir := t.TempDir()
			mount(t, dir, "1", first, lifetime)
			expired := time.Now().Add(lifetime)
			w.serve(dir, cache.Options{}, nil)
			w.awaitCalls()
			replaced := false
			n := w.callFor(time.Until(expired)+2*time.Second, func(elapsed time.Duration) {
				if !replaced && elapsed > time.Second {
					mount(t, dir, "2", second, time.Hour)
					replaced = true
				}
			})
			t.Logf("%d calls until the first certificate had expired, none failed: %d certificates", n, len(w.serials))
			if len(w.serials) != 2 {
				t.Errorf("%d certificates were in use, want 2", len(w.serials))
			}
		})
	}
}

// issuer simulates service CA, OLM or cert-manager.
type issuer struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newIssuer(t *testing.T) issuer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return issuer{signed(t, nil, key, key, time.Hour), key}
}

func (i issuer) pem() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: i.cert.Raw})
}

// signed creates a certificate for localhost. Without a parent it is an
// authority.
func signed(t *testing.T, parent *x509.Certificate, signer, key *ecdsa.PrivateKey, lifetime time.Duration) *x509.Certificate {
	t.Helper()
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 100))
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: serial.String()}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if parent == nil {
		c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
		parent = c
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, &key.PublicKey, signer)
	if err != nil {
		t.Fatal(err)
	}
	out, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// mount writes a certificate to dir like the kubelet for a Secret: it creates a
// separate directory, changes the symbolic link ..data to it in one step, and
// removes the previous directory (k8s.io/kubernetes/pkg/volume/util,
// AtomicWriter).
func mount(t *testing.T, dir, version string, i issuer, lifetime time.Duration) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	cert := signed(t, i.cert, i.key, key, lifetime)
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	earlier, _ := os.Readlink(filepath.Join(dir, "..data")) // none at first
	write := func(name, kind string, content []byte) error {
		text := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content})
		return os.WriteFile(filepath.Join(dir, ".."+version, name), text, 0o600)
	}
	err = errors.Join(
		os.Mkdir(filepath.Join(dir, ".."+version), 0o700),
		write("tls.crt", "CERTIFICATE", cert.Raw),
		write("tls.key", "PRIVATE KEY", raw),
		os.Symlink(".."+version, filepath.Join(dir, "..data_tmp")),
		os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")),
	)
	if err != nil {
		t.Fatal(err)
	}
	if earlier != "" {
		if err := os.RemoveAll(filepath.Join(dir, earlier)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
			t.Fatal(err)
		}
	}
}
