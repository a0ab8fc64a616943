// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/webhook"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/testenv"
)

// refusals are specs that the schema permits and the operator does not accept, in addition
// to those of TestTenancy.
var refusals = []attempt{
	{what: "bridge binding", spec: `virtualMachine: {template: {spec: {networks: [{name: default, pod: {}}], domain: {devices: {interfaces: [{name: default, bridge: {}}]}}}}}`, refused: v1alpha1.ReasonBridgeBinding},
	{what: "clients without an identity", spec: `mesh: {mtls: {mode: Disable}, allow: [{namespace: front}]}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "port of the Service in a policy", spec: `mesh: {authorization: [{name: p, action: Allow, rules: [{to: [{operation: {ports: ["80"]}}]}]}]}`, refused: v1alpha1.ReasonInvalidPort},
	{what: "keys without TLS", spec: `mesh: {authentication: {jwtRules: [{issuer: someone}]}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "a route that Istio rejects", spec: `mesh: {routes: {http: [{fault: {abort: {httpStatus: 503, percentage: {value: 101}}}}]}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "a value that the type does not permit", spec: `virtualMachine: {template: {spec: {domain: {cpu: {cores: -1}}}}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "another version in the template", spec: `virtualMachine: {template: {metadata: {labels: {version: v7}}}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "policy for a port that bypasses the proxy", spec: `mesh: {authorization: [{name: p, action: Allow, rules: [{to: [{operation: {ports: ["22"]}}]}]}]}`, refused: v1alpha1.ReasonInvalidPort},
}

const specWebhook = "spec.meshvm.io"

// TestSpecWebhook stores specs that are not accepted, compares the response of the webhook to
// an edit of each with the condition, and edits and deletes the objects.
func TestSpecWebhook(t *testing.T) {
	s := start(t)
	s.makeVictims()
	invalid := map[string]string{} // messages by name
	for i, a := range append(refusals, attempts...) {
		// The webhook does not know the service accounts.
		if a.refused == "" || a.namespace != "" || a.refused == v1alpha1.ReasonServiceAccountNotFound {
			continue
		}
		name, err := s.attempt(a, i)
		if err != nil {
			t.Fatal(err)
		}
		o := s.awaitMVM(name, want{v1alpha1.ConditionAccepted, no, a.refused})
		invalid[name] = meta.FindStatusCondition(o.Status.Conditions, string(v1alpha1.ConditionAccepted)).Message
	}
	stop := s.serveSpecWebhook()
	for name, message := range invalid {
		err := s.changeSpec(name, client.DryRunAll)
		if want := fmt.Sprintf("admission webhook %q denied the request: %s", specWebhook, message); !apierrors.IsInvalid(err) || err.Error() != want {
			t.Errorf("%s:\ngot  %v\nwant %s", name, err, want)
		}
	}
	t.Logf("compared refusals: %d", len(invalid))

	// An edit that does not touch the spec, and an edit that corrects it.
	if _, err := s.attempt(refusals[0], len(invalid)+1000); !apierrors.IsInvalid(err) {
		t.Errorf("the response to an object that is not accepted is %v", err)
	}
	const stored = "attempt-0"
	patch := func(text string) error {
		o := &v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: stored}}
		return s.Patch(s.Context(), o, client.RawPatch(types.MergePatchType, []byte(text)))
	}
	if err := patch(`{"metadata": {"annotations": {"a": "b"}}}`); err != nil {
		t.Errorf("an edit of the metadata was rejected: %v", err)
	}
	if err := patch(`{"spec": {"virtualMachine": {"template": {"spec": {"networks": null, "domain": {"devices": {"interfaces": null}}}}}}}`); err != nil {
		t.Errorf("a correction was rejected: %v", err)
	}
	s.awaitMVM(stored, want{v1alpha1.ConditionAccepted, yes, ""})
	for other := range invalid {
		o := &v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: other}}
		if err := s.Delete(s.Context(), o); err != nil {
			t.Errorf("delete %s: %v", other, err)
		}
	}

	// Without the webhook, the object is stored and the controller reports it.
	stop()
	name, err := s.attempt(refusals[0], len(invalid)+1001)
	if err != nil {
		t.Fatal(err)
	}
	s.awaitMVM(name, want{v1alpha1.ConditionAccepted, no, refusals[0].refused})
}

// changeSpec edits a field of a spec on which no other depends.
func (s *suite) changeSpec(name string, options ...client.PatchOption) error {
	o := &v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	return s.Patch(s.Context(), o, client.RawPatch(types.MergePatchType, []byte(`{"spec": {"capture": {"onChange": "Reset"}}}`)), options...)
}

// serveSpecWebhook makes the API server call the webhook as configured in config/webhook,
// for the namespace of the test, until stop is called.
func (s *suite) serveSpecWebhook() (stop func()) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "config/webhook/validation.yaml"))
	if err != nil {
		s.Fatal(err)
	}
	var config admissionv1.ValidatingWebhookConfiguration
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		s.Fatal(err)
	}
	hook := &config.Webhooks[0]
	hook.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: s.namespace}}
	hook.ClientConfig, stop = s.serveWebhook(*hook.ClientConfig.Service.Path, func(mgr manager.Manager) {
		webhook.SetupSpec(mgr, controllers.Options{}.Cluster(s.Client))
	})
	if err := s.Create(s.Context(), &config); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := s.Delete(context.WithoutCancel(s.Context()), &config); err != nil {
			s.Error(err)
		}
	})
	s.eventually("the API server calls the webhook", func() error {
		o := s.web()
		o.Name, o.Spec.Version = "probe", "v2"
		o.Spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelVersion: "another"}
		if err := s.Create(s.Context(), o, client.DryRunAll); err == nil || !strings.Contains(err.Error(), specWebhook) {
			return errors.Join(errors.New("not called"), err)
		}
		return nil
	})
	return stop
}
