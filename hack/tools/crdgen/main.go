// SPDX-License-Identifier: Apache-2.0

// Command crdgen completes the CustomResourceDefinition of MeshedVirtualMachine
// with the schemas of fields that have Go types of KubeVirt and Istio:
//
//   - spec.virtualMachine is KubeVirt's VirtualMachineSpec. The schema is
//     derived from the types and markers of the required version of
//     kubevirt.io/api, in the same way as KubeVirt derives it.
//   - spec.mesh.trafficPolicy and spec.ports[].retries have the schemas of
//     the CRDs in the required version of istio.io/api. controller-gen cannot
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
	"strings"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

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
	trafficPolicy, err := istio.schema("destinationrules.networking.istio.io", "v1", "spec", "trafficPolicy")
	if err != nil {
		return err
	}
	strip(trafficPolicy)
	retries, err := istio.schema("virtualservices.networking.istio.io", "v1", "spec", "http", items, "retries")
	if err != nil {
		return err
	}

	for i := range crd.Spec.Versions {
		root := crd.Spec.Versions[i].Schema.OpenAPIV3Schema
		err := errors.Join(
			graft(root, virtualMachine, "spec", "virtualMachine"),
			graft(root, trafficPolicy, "spec", "mesh", "trafficPolicy"),
			graft(root, retries, "spec", "ports", items, "retries"),
		)
		if err != nil {
			return fmt.Errorf("version %s: %w", crd.Spec.Versions[i].Name, err)
		}
	}
	return writeCRD(file, crd)
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
