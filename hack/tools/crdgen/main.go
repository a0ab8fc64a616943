// SPDX-License-Identifier: Apache-2.0

// Command crdgen completes the CustomResourceDefinition of
// MeshedVirtualMachine with the schemas of fields whose Go types belong to
// others:
//
//   - spec.virtualMachine is KubeVirt's VirtualMachineSpec, derived from the
//     types and markers of the required kubevirt.io/api version, as KubeVirt
//     derives its own;
//   - spec.mesh.trafficPolicy and spec.mesh.traffic.retries are Istio's, taken
//     from the CRDs that the required istio.io/api version ships. Its Go types
//     come from protobuf, and controller-gen cannot read those.
//
// So the API server refuses a typo in them as KubeVirt's and Istio's own kinds
// would. Descriptions of others' fields are left out: they are most of the
// size, and an object of one kind has to fit etcd's and the client's limits.
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
	retries, err := istio.schema("virtualservices.networking.istio.io", "v1", "spec", "http", items, "retries")
	if err != nil {
		return err
	}

	for i := range crd.Spec.Versions {
		root := crd.Spec.Versions[i].Schema.OpenAPIV3Schema
		err := errors.Join(
			graft(root, virtualMachine, "spec", "virtualMachine"),
			graft(root, trafficPolicy, "spec", "mesh", "trafficPolicy"),
			graft(root, retries, "spec", "mesh", "traffic", "retries"),
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

// writeCRD writes the file as controller-gen does: without the status and the
// creation time, which are the API server's.
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

// moduleDir is the directory of a module that the module in the working
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
