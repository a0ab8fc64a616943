// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/tls"
	"fmt"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// tlsProfile is the permission in config/openshift/tls_profile_role.yaml.
var tlsProfile = authorizationv1.ResourceAttributes{Group: "config.openshift.io", Resource: "apiservers", Name: "cluster", Verb: "get"}

// offers12 waits until the manager accepts or rejects TLS 1.2.
func (p *process) offers12(want bool) {
	p.Helper()
	p.eventually(fmt.Sprintf("TLS 1.2 is offered: %t", want), func() error {
		_, _, err := p.get("", tls.VersionTLS12)
		if (err == nil) != want {
			return fmt.Errorf("with TLS 1.2: %w", err)
		}
		return nil
	})
}

// clusterProfile returns the OpenShift object with a profile.
func clusterProfile(kind string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "config.openshift.io/v1", "kind": "APIServer", "metadata": map[string]any{"name": "cluster"},
		"spec": map[string]any{"tlsSecurityProfile": map[string]any{"type": kind, strings.ToLower(kind): map[string]any{}}},
	}}
}

// openShift installs the OpenShift kind and an object with a profile.
func (p *process) openShift(kind string) *unstructured.Unstructured {
	p.Helper()
	o := clusterProfile(kind)
	if err := p.env.InstallOpenShiftAPIServer(p.Context()); err != nil {
		p.Fatal(err)
	}
	if err := p.env.Client.Create(p.Context(), o); err != nil {
		p.Fatal(err)
	}
	return o
}

// followsTLSProfile installs the OpenShift kind while the manager is running
// and changes its object.
func (p *process) followsTLSProfile() {
	p.Helper()
	p.offers12(true)
	o := p.openShift("Modern")
	p.offers12(false)
	o.Object["spec"] = clusterProfile("Intermediate").Object["spec"]
	if err := p.env.Client.Update(p.Context(), o); err != nil {
		p.Fatal(err)
	}
	p.offers12(true)
}

// TestManagerWithoutTLSProfilePermission runs the manager of config/default on a
// cluster with the OpenShift kind. It is not allowed to read the profile but
// works, and applies the profile after permission is granted and it is
// restarted.
func TestManagerWithoutTLSProfilePermission(t *testing.T) {
	p := newProcess(t)
	p.openShift("Modern")
	p.start(p.servers())
	p.offers12(true)
	p.eventually("the log reports the missing permission", func() error {
		if !strings.Contains(p.log.String(), "config/openshift/tls_profile_role.yaml") {
			return fmt.Errorf("%d bytes of log without it", len(p.log.String()))
		}
		return nil
	})
	p.configure(p.servers() + "tls: {profile: Modern}\n")
	p.offers12(false)
	p.configure(p.servers() + "tls: {profile: Intermediate}\n")
	p.offers12(true)
	p.apply("openshift/tls_profile_role.yaml")
	p.awaitPermission(tlsProfile)
	p.configure(p.servers() + "tls: {profile: Cluster}\n")
	p.offers12(false)
}
