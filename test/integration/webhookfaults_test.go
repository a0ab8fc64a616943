// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/testenv"
)

var errNotCalled = errors.New("the pod was created")

// TestWebhookThatCannotAnswer: the API server reaches a server in place of the webhook
// that is slow, fails, or has the certificate of another authority. No virt-launcher pod
// that requests a gate is created, and other pods are.
func TestWebhookThatCannotAnswer(t *testing.T) {
	s := start(t)
	fault := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fault(w, r) }))
	defer server.Close()
	trusted := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "config/webhook/configuration.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		bundle []byte
		answer http.HandlerFunc
		reason string
	}{
		"another authority": {newIssuer(t).pem(), nil, "certificate"},
		"slow": {trusted, func(http.ResponseWriter, *http.Request) {
			time.Sleep(2 * time.Second) // Longer than the timeout.
		}, "deadline"},
		"an error":        {trusted, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }, "an error on the server"},
		"another answer":  {trusted, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{}")) }, "gate.meshvm.io"},
		"an empty answer": {trusted, func(http.ResponseWriter, *http.Request) {}, "gate.meshvm.io"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.answer != nil {
				fault = tc.answer
			}
			var config admissionv1.MutatingWebhookConfiguration
			if err := yaml.UnmarshalStrict(text, &config); err != nil {
				t.Fatal(err)
			}
			hook := &config.Webhooks[0]
			hook.ClientConfig = admissionv1.WebhookClientConfig{URL: new(server.URL + *hook.ClientConfig.Service.Path), CABundle: tc.bundle}
			hook.TimeoutSeconds = new(int32(1))
			if err := s.Create(s.Context(), &config); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := s.Delete(context.WithoutCancel(s.Context()), &config); err != nil {
					t.Error(err)
				}
				s.awaitNoWebhook()
			}()
			s.eventually("the API server calls the webhook", func() error {
				err := s.Create(s.Context(), s.requestingPod(true), client.DryRunAll)
				if err == nil {
					return errNotCalled
				}
				if !strings.Contains(err.Error(), "gate.meshvm.io") || !strings.Contains(err.Error(), tc.reason) {
					return fmt.Errorf("got %w, want a refusal that contains %q", err, tc.reason)
				}
				return nil
			})
			if err := s.Create(s.Context(), s.requestingPod(false), client.DryRunAll); err != nil {
				t.Errorf("a pod without a gate was rejected: %v", err)
			}
		})
	}
}
