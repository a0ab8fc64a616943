// SPDX-License-Identifier: Apache-2.0

package validation

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"istio.io/istio/pkg/config/analysis"
	"istio.io/istio/pkg/config/analysis/analyzers"
	"istio.io/istio/pkg/config/analysis/local"
	"istio.io/istio/pkg/config/analysis/msg"
)

// namespace is the namespace of the objects in the golden files, with the Gateways to which
// they refer.
const namespace = `---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels:
    istio-injection: enabled
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public, namespace: shop}
spec:
  selector: {istio: gateway}
  servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: [shop.example.com, "*.shop.example.com"]}]
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: second, namespace: shop}
spec:
  selector: {istio: gateway}
  servers: [{port: {number: 443, name: tls, protocol: TLS}, tls: {mode: PASSTHROUGH}, hosts: [shop.example.com, "*.shop.example.com"]}]
---
apiVersion: v1
kind: Pod
metadata: {name: gateway, namespace: shop, labels: {istio: gateway}}
spec:
  containers: [{name: istio-proxy, image: proxyv2, ports: [{containerPort: 80}, {containerPort: 443}]}]
---
apiVersion: v1
kind: Service
metadata: {name: gateway, namespace: shop}
spec:
  selector: {istio: gateway}
  ports: [{name: http, protocol: TCP, port: 80, targetPort: 80}, {name: tls, protocol: TCP, port: 443, targetPort: 443}]
`

// TestAnalysis analyzes the objects and the pods of each golden file with all analyzers of
// `istioctl analyze`.
func TestAnalysis(t *testing.T) {
	files, err := filepath.Glob(goldenFiles)
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	messages, recipes := 0, 0
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if strings.HasPrefix(name, "cookbook-") {
			recipes++
		}
		t.Run(name, func(t *testing.T) {
			adopted := false
			sources := []local.ReaderSource{{Name: "namespace", Reader: strings.NewReader(namespace)}}
			for _, path := range []string{file, filepath.Join(filepath.Dir(file), "pods", filepath.Base(file))} {
				text, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				adopted = adopted || path == file && !bytes.Contains(text, []byte("kind: VirtualMachine\n"))
				sources = append(sources, local.ReaderSource{Name: path, Reader: bytes.NewReader(text)})
			}
			all := analyzers.All()
			analyzer := local.NewSourceAnalyzer(analysis.Combine("all", all...), "", "istio-system", nil)
			// The reader for tests also reads Services and Pods.
			if err := errors.Join(analyzer.AddTestReaderKubeSource(sources), analyzer.AddDefaultResources()); err != nil {
				t.Fatal(err)
			}
			result, err := analyzer.Analyze(t.Context().Done())
			if err != nil {
				t.Fatal(err)
			}
			if len(result.ExecutedAnalyzers) < len(all) || len(result.SkippedAnalyzers) > 0 {
				t.Errorf("%d of %d analyzers were executed, without %v", len(result.ExecutedAnalyzers), len(all), result.SkippedAnalyzers)
			}
			for _, m := range result.Messages {
				// No route leads to the subset of an adopted guest until its next start.
				if adopted && m.Type == msg.DestinationRuleSubsetNotSelectPods {
					continue
				}
				// Istio's validation causes this message, with its warning about every EnvoyFilter.
				if m.Type != msg.SchemaWarning || !envoyFilterWarning.MatchString(fmt.Sprint(m.Parameters...)) {
					messages++
					t.Error(m.String())
				}
			}
		})
	}
	t.Logf("analyzed: %d cases, %d of them recipes of the cookbook, %d messages", len(files), recipes, messages)
}
