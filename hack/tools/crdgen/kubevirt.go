// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"

	"golang.org/x/tools/go/packages"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/controller-tools/pkg/crd"
	crdmarkers "sigs.k8s.io/controller-tools/pkg/crd/markers"
	"sigs.k8s.io/controller-tools/pkg/loader"
	"sigs.k8s.io/controller-tools/pkg/markers"
)

const kubeVirtPackage = "kubevirt.io/api/core/v1"

// kubeVirtSchema derives the schema of a type of KubeVirt's API from its Go
// type.
func kubeVirtSchema(typeName string) (*extv1.JSONSchemaProps, error) {
	roots, err := loader.LoadRoots(kubeVirtPackage)
	if err != nil {
		return nil, err
	}
	if len(roots) != 1 {
		return nil, fmt.Errorf("%s: %d packages", kubeVirtPackage, len(roots))
	}
	registry := &markers.Registry{}
	if err := crdmarkers.Register(registry); err != nil {
		return nil, err
	}
	parser := &crd.Parser{
		Collector: &markers.Collector{Registry: registry},
		Checker:   &loader.TypeChecker{NodeFilters: []loader.NodeFilter{crd.Generator{}.CheckFilter()}},
		// KubeVirt has floating-point fields and also uses this option.
		AllowDangerousTypes: true,
	}
	crd.AddKnownTypes(parser)

	ident := crd.TypeIdent{Package: roots[0], Name: typeName}
	parser.NeedFlattenedSchemaFor(ident)
	// The filter omits parts that schemas do not need, so incomplete types are
	// expected.
	if loader.PrintErrors(roots, packages.TypeError) {
		return nil, errors.New("errors in the types of the package")
	}
	schema, ok := parser.FlattenedSchemata[ident]
	if !ok {
		return nil, fmt.Errorf("type %s not found", ident)
	}
	strip(&schema)
	return &schema, nil
}
