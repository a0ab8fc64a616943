// SPDX-License-Identifier: Apache-2.0

// Package validation tests the operator's Istio objects with Istio's own code.
package validation

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"istio.io/istio/pilot/pkg/config/kube/crd"
	"istio.io/istio/pkg/config/kube"
	"istio.io/istio/pkg/config/protocol"
	"istio.io/istio/pkg/config/schema/collections"
	"istio.io/istio/pkg/config/schema/resource"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/yaml"
)

// goldenFiles are the objects that the operator creates in its unit tests.
const goldenFiles = "../../../../internal/children/testdata/*.yaml"

// forEach calls check for each object of the operator with its kind.
func forEach(t *testing.T, check func(t *testing.T, kind crd.IstioKind, raw []byte)) {
	t.Helper()
	files, err := filepath.Glob(goldenFiles)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
			for {
				var raw json.RawMessage
				err := decoder.Decode(&raw)
				if errors.Is(err, io.EOF) {
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				var kind crd.IstioKind
				if err := json.Unmarshal(raw, &kind); err != nil {
					t.Fatal(err)
				}
				check(t, kind, raw)
			}
		})
	}
}

// envoyFilterWarning is the only warning about an EnvoyFilter without a problem.
var envoyFilterWarning = regexp.MustCompile(`^EnvoyFilter exposes internal implementation details[^\n]*$`)

// TestIstioAcceptsObjects validates each Istio object in the way of Istio's webhook
// (pkg/webhooks/validation/server). It must cause neither an error nor a warning, except for
// the warning that every EnvoyFilter causes.
func TestIstioAcceptsObjects(t *testing.T) {
	validated := map[string]int{}
	forEach(t, func(t *testing.T, kind crd.IstioKind, _ []byte) {
		gvk := kind.GroupVersionKind()
		if !strings.HasSuffix(gvk.Group, ".istio.io") {
			return
		}
		schema, ok := collections.Istio.FindByGroupVersionAliasesKind(resource.FromKubernetesGVK(&gvk))
		if !ok {
			t.Fatalf("Istio does not have the kind %v", gvk)
		}
		config, err := crd.ConvertObject(schema, &kind, "cluster.local")
		if err != nil {
			t.Fatalf("%s: %v", gvk.Kind, err)
		}
		warnings, err := schema.ValidateConfig(*config)
		if warnings != nil && gvk.Kind == "EnvoyFilter" && envoyFilterWarning.MatchString(warnings.Error()) {
			warnings = nil
		}
		if err != nil || warnings != nil {
			t.Errorf("%s: error %v, warnings %v", gvk.Kind, err, warnings)
		}
		validated[gvk.Kind]++
	})
	t.Logf("validated objects: %v", validated)
	for _, kind := range []string{"VirtualService", "DestinationRule", "PeerAuthentication", "EnvoyFilter", "Sidecar", "ServiceEntry", "Telemetry"} {
		if validated[kind] == 0 {
			t.Errorf("no %s was validated", kind)
		}
	}
}

// TestProtocolsOfNames compares the application protocols of ports that are named
// after one with the protocols that Istio derives from the names. A port without a
// protocol in its name, for which Istio would detect the protocol, is plain TCP.
func TestProtocolsOfNames(t *testing.T) {
	compared := 0
	forEach(t, func(t *testing.T, kind crd.IstioKind, raw []byte) {
		if kind.Kind != "Service" {
			return
		}
		var service corev1.Service
		if err := json.Unmarshal(raw, &service); err != nil {
			t.Fatal(err)
		}
		for _, p := range service.Spec.Ports {
			got := kube.ConvertProtocol(p.Port, p.Name, p.Protocol, p.AppProtocol)
			if strings.HasSuffix(p.Name, "-explicit") || !strings.Contains(t.Name(), "protocols-of-names") {
				continue // The spec contains a protocol.
			}
			want := kube.ConvertProtocol(p.Port, p.Name, p.Protocol, nil)
			if want == protocol.Unsupported || want == protocol.UDP && p.Protocol == corev1.ProtocolTCP {
				want = protocol.TCP
			}
			if got != want {
				t.Errorf("port %s has the protocol %s, want %s", p.Name, got, want)
			}
			compared++
		}
	})
	if compared < 15 {
		t.Errorf("%d ports were compared", compared)
	}
}
