// SPDX-License-Identifier: Apache-2.0

// Command crds prints the CustomResourceDefinitions of KubeVirt as YAML.
//
// KubeVirt does not provide them as files: virt-operator creates them in Go
// (pkg/virt-operator/resource/generate/components). This program calls the same
// constructors, so that an API server without KubeVirt has the same schemas.
//
//	crds [-descriptions] [KIND...]
//
// Without KIND, it prints all kinds that users can apply, including the kind
// KubeVirt.
package main

import (
	"flag"
	"fmt"
	"os"
	"slices"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"kubevirt.io/kubevirt/pkg/virt-operator/resource/generate/components"
	"sigs.k8s.io/yaml"
)

// constructors are the constructors of KubeVirt in the order of their file.
var constructors = []func() (*extv1.CustomResourceDefinition, error){
	components.NewVirtualMachineInstanceCrd,
	components.NewVirtualMachineCrd,
	components.NewPresetCrd,
	components.NewReplicaSetCrd,
	components.NewVirtualMachineInstanceMigrationCrd,
	components.NewKubeVirtCrd,
	components.NewVirtualMachinePoolCrd,
	components.NewVirtualMachineSnapshotCrd,
	components.NewVirtualMachineSnapshotContentCrd,
	components.NewVirtualMachineRestoreCrd,
	components.NewVirtualMachineExportCrd,
	components.NewVirtualMachineInstancetypeCrd,
	components.NewVirtualMachineClusterInstancetypeCrd,
	components.NewVirtualMachinePreferenceCrd,
	components.NewVirtualMachineClusterPreferenceCrd,
	components.NewMigrationPolicyCrd,
	components.NewVirtualMachineCloneCrd,
}

func main() {
	descriptions := flag.Bool("descriptions", false, "keep the descriptions of the fields (ten times the size)")
	flag.Parse()
	if err := run(*descriptions, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "crds:", err)
		os.Exit(1)
	}
}

func run(descriptions bool, kinds []string) error {
	found := map[string]bool{}
	for _, construct := range constructors {
		crd, err := construct()
		if err != nil {
			return err
		}
		kind := crd.Spec.Names.Kind
		if len(kinds) > 0 && !slices.Contains(kinds, kind) {
			continue
		}
		found[kind] = true
		if err := print(crd, descriptions); err != nil {
			return fmt.Errorf("%s: %w", kind, err)
		}
	}
	for _, k := range kinds {
		if !found[k] {
			return fmt.Errorf("unknown KubeVirt kind %q", k)
		}
	}
	return nil
}

// print writes one document. It omits the status of the CRD, which the API
// server sets.
func print(crd *extv1.CustomResourceDefinition, descriptions bool) error {
	if !descriptions {
		for i := range crd.Spec.Versions {
			if s := crd.Spec.Versions[i].Schema; s != nil {
				strip(s.OpenAPIV3Schema)
			}
		}
	}
	raw, err := yaml.Marshal(struct {
		APIVersion string                             `json:"apiVersion"`
		Kind       string                             `json:"kind"`
		Metadata   map[string]any                     `json:"metadata"`
		Spec       extv1.CustomResourceDefinitionSpec `json:"spec"`
	}{"apiextensions.k8s.io/v1", "CustomResourceDefinition", metadata(crd), crd.Spec})
	if err != nil {
		return err
	}
	_, err = fmt.Printf("---\n%s", raw)
	return err
}

func metadata(crd *extv1.CustomResourceDefinition) map[string]any {
	m := map[string]any{"name": crd.Name}
	if len(crd.Labels) > 0 {
		m["labels"] = crd.Labels
	}
	if len(crd.Annotations) > 0 {
		m["annotations"] = crd.Annotations
	}
	return m
}

// strip removes the descriptions of a schema and of its descendants.
func strip(s *extv1.JSONSchemaProps) {
	if s == nil {
		return
	}
	s.Description = ""
	for name := range s.Properties {
		p := s.Properties[name]
		strip(&p)
		s.Properties[name] = p
	}
	if s.Items != nil {
		strip(s.Items.Schema)
	}
	if s.AdditionalProperties != nil {
		strip(s.AdditionalProperties.Schema)
	}
}
