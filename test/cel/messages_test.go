// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/testenv"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// upstream are the fields whose schemas come from KubeVirt and Istio. Their rules
// are tested upstream.
var upstream = []string{"spec.virtualMachine", "spec.mesh.trafficPolicy", "spec.ports[].retries", "spec.mesh.authorization[].rules", "spec.mesh.routes.http", "spec.mesh.routes.tls", "spec.mesh.routes.tcp", "spec.mesh.authentication.jwtRules", "spec.mesh.telemetry.accessLogging", "spec.mesh.telemetry.tracing", "spec.mesh.telemetry.metrics"}

// TestEveryRuleIsTested checks that each validation rule of meshvm has a test case
// that violates it.
func TestEveryRuleIsTested(t *testing.T) {
	wanted := map[string]bool{}
	for _, cases := range []map[string]testCase{meshedVirtualMachineCases, policyCases, routeCases, limitCases, egressCases, patchCases, telemetryCases, identityCases, waypointCases, podNATConfigurationCases, connectionTraceCases, immutableTraceCases, immutableCases, serviceTypeCases, loadBalancerCases, serviceCases, serviceNameCases, adoptionCases, adoptedCases} {
		for _, tc := range cases {
			for _, w := range tc.want {
				wanted[w] = true
			}
		}
	}
	for _, file := range []string{"meshedvirtualmachines", "podnatconfigurations", "connectiontraces"} {
		crd := readCRD(t, filepath.Join(testenv.Root(), "config/crd/bases/meshvm.io_"+file+".yaml"))
		rules := 0
		for _, v := range crd.Spec.Versions {
			walk("", v.Schema.OpenAPIV3Schema, func(path string, s *extv1.JSONSchemaProps) bool {
				for _, rule := range s.XValidations {
					rules++
					if rule.Message == "" {
						t.Errorf("%s%s: rule %q does not have a message", file, path, rule.Rule)
					} else if !wanted[rule.Message] {
						t.Errorf("%s%s: no test case expects %q", file, path, rule.Message)
					}
				}
				return !slices.Contains(upstream, path)
			})
		}
		t.Logf("%s: %d rules", file, rules)
	}
}

// nonEmpty are the objects that must not be empty although all their fields are
// optional: a rule with an empty match would limit every request, and only the operator
// writes status.
var nonEmpty = []string{"spec.ports[].rateLimit.rules[].match", "status"}

// TestEmptyObjectsAreAccepted checks that a patch can remove the last field of an object
// whose fields are all optional.
func TestEmptyObjectsAreAccepted(t *testing.T) {
	for _, file := range []string{"meshedvirtualmachines", "podnatconfigurations", "connectiontraces"} {
		crd := readCRD(t, filepath.Join(testenv.Root(), "config/crd/bases/meshvm.io_"+file+".yaml"))
		for _, v := range crd.Spec.Versions {
			walk("", v.Schema.OpenAPIV3Schema, func(path string, s *extv1.JSONSchemaProps) bool {
				if s.MinProperties != nil && *s.MinProperties > 0 && len(s.Required) == 0 && !slices.Contains(nonEmpty, path) {
					t.Errorf("%s: %s must have %d fields, and none is required: a merge patch that removes the last one is rejected", file, path, *s.MinProperties)
				}
				return !slices.Contains(upstream, path)
			})
		}
	}
}

func readCRD(t *testing.T, file string) *extv1.CustomResourceDefinition {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	crd := &extv1.CustomResourceDefinition{}
	if err := yaml.Unmarshal(raw, crd); err != nil {
		t.Fatal(err)
	}
	return crd
}

// walk visits a schema and its descendants. It skips the descendants of a schema
// for which visit returns false.
func walk(path string, s *extv1.JSONSchemaProps, visit func(string, *extv1.JSONSchemaProps) bool) {
	if s == nil || !visit(path, s) {
		return
	}
	for _, name := range sortedKeys(s.Properties) {
		p := s.Properties[name]
		child := name
		if path != "" {
			child = path + "." + name
		}
		walk(child, &p, visit)
	}
	if s.Items != nil {
		walk(path+"[]", s.Items.Schema, visit)
	}
	if s.AdditionalProperties != nil {
		walk(path+"{}", s.AdditionalProperties.Schema, visit)
	}
}
