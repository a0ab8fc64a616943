// SPDX-License-Identifier: Apache-2.0

// Command crdgen completes the CustomResourceDefinition of MeshedVirtualMachine
// with the schemas of fields that have Go types of KubeVirt and Istio:
//
//   - spec.virtualMachine is KubeVirt's VirtualMachineSpec. The schema is
//     derived from the types and markers of the required version of
//     kubevirt.io/api, in the same way as KubeVirt derives it.
//   - the fields in grafts have the schemas of the CRDs in the required version of istio.io/api. controller-gen cannot
//     read Istio's Go types, which are generated from protobuf.
//
// With these schemas, the API server rejects a misspelled field in them. The
// descriptions of most upstream fields are omitted, because they account for most
// of the size, and the CRD must not exceed the limits of etcd and clients.
//
// Run it in the root of the repository, after controller-gen:
//
//	crdgen config/crd/bases/meshvm.io_meshedvirtualmachines.yaml
package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// grafts are the fields with schemas of Istio. A limit replaces the number of items of
// a list, because the API server limits the cost of the rules in nested lists.
var grafts = []struct {
	crd      string
	from, to []string
	limit    int64
	// described is set if the descriptions of Istio are kept.
	described bool
}{
	{"destinationrules.networking.istio.io", []string{"spec", "trafficPolicy"}, []string{"spec", "mesh", "trafficPolicy"}, 0, false},
	{"virtualservices.networking.istio.io", []string{"spec", "http", items, "retries"}, []string{"spec", "ports", items, "retries"}, 0, true},
	{"virtualservices.networking.istio.io", []string{"spec", "http"}, []string{"spec", "mesh", "routes", "http"}, 32, false},
	{"virtualservices.networking.istio.io", []string{"spec", "tls"}, []string{"spec", "mesh", "routes", "tls"}, 32, false},
	{"virtualservices.networking.istio.io", []string{"spec", "tcp"}, []string{"spec", "mesh", "routes", "tcp"}, 32, false},
	{"authorizationpolicies.security.istio.io", []string{"spec", "rules"}, []string{"spec", "mesh", "authorization", items, "rules"}, 32, true},
	{"requestauthentications.security.istio.io", []string{"spec", "jwtRules"}, []string{"spec", "mesh", "authentication", "jwtRules"}, 16, true},
	{"telemetries.telemetry.istio.io", []string{"spec", "accessLogging"}, []string{"spec", "mesh", "telemetry", "accessLogging"}, 16, true},
	{"telemetries.telemetry.istio.io", []string{"spec", "tracing"}, []string{"spec", "mesh", "telemetry", "tracing"}, 1, true},
	{"telemetries.telemetry.istio.io", []string{"spec", "metrics"}, []string{"spec", "mesh", "telemetry", "metrics"}, 16, true},
}

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: crdgen CRD-FILE")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "crdgen:", err)
		os.Exit(1)
	}
}

func run(file string) error {
	crd, err := readCRD(file)
	if err != nil {
		return err
	}
	virtualMachine, err := kubeVirtSchema("VirtualMachineSpec")
	if err != nil {
		return fmt.Errorf("KubeVirt: %w", err)
	}
	istio, err := readIstio()
	if err != nil {
		return fmt.Errorf("istio: %w", err)
	}
	for i := range crd.Spec.Versions {
		root := crd.Spec.Versions[i].Schema.OpenAPIV3Schema
		errs := []error{graft(root, virtualMachine, "spec", "virtualMachine")}
		for _, g := range grafts {
			s, err := istio.schema(g.crd, "v1", g.from...)
			if err != nil {
				return err
			}
			if !g.described {
				strip(s)
			}
			if g.limit > 0 {
				s.MinItems, s.MaxItems = new(int64(1)), new(g.limit)
				requireItems(s.Items.Schema.Properties)
				ownHosts(s)
			}
			errs = append(errs, graft(root, s, g.to...))
		}
		if err := errors.Join(errs...); err != nil {
			return fmt.Errorf("version %s: %w", crd.Spec.Versions[i].Name, err)
		}
	}
	return writeCRD(file, crd)
}

// requireItems requires an item in each list among the fields. Istio's types do not distinguish
// an empty list from a list that is not set, which matches everything in a rule.
func requireItems(fields map[string]extv1.JSONSchemaProps) {
	for name, f := range fields {
		if f.Type == "array" {
			f.MinItems = new(int64(1))
			fields[name] = f
		}
	}
}

// ownHosts makes the host of a destination optional. It defaults to the Service of the guest.
func ownHosts(s *extv1.JSONSchemaProps) {
	walk(s, func(s *extv1.JSONSchemaProps) {
		if _, ok := s.Properties["subset"]; ok && slices.Equal(s.Required, []string{"host"}) {
			s.Required = nil
		}
	})
}

func readCRD(file string) (*extv1.CustomResourceDefinition, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	crd := &extv1.CustomResourceDefinition{}
	if err := yaml.UnmarshalStrict(raw, crd); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return crd, nil
}

// writeCRD writes the file like controller-gen: without the status and the
// creation timestamp, which the API server sets.
func writeCRD(file string, crd *extv1.CustomResourceDefinition) error {
	u, err := runtime.DefaultUnstructuredConverter.ToUnstructured(crd)
	if err != nil {
		return err
	}
	delete(u, "status")
	if metadata, ok := u["metadata"].(map[string]any); ok {
		delete(metadata, "creationTimestamp")
	}
	raw, err := yaml.Marshal(u)
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte("---\n"), raw...), 0o644)
}

// moduleDir returns the directory of a module that the module in the working
// directory requires.
func moduleDir(path string) (string, error) {
	out, err := exec.Command("go", "list", "-m", "-f", "{{.Dir}}", path).Output()
	if err != nil {
		return "", fmt.Errorf("go list -m %s: %w", path, err)
	}
	dir := strings.TrimSpace(string(out))
	if !filepath.IsAbs(dir) {
		return "", fmt.Errorf("module %s is not downloaded", path)
	}
	return dir, nil
}
