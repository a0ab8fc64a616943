// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
)

// istioFile is the file with all CRDs of Istio in the module istio.io/api.
const istioFile = "kubernetes/customresourcedefinitions.gen.yaml"

// crds maps names to CustomResourceDefinitions.
type crds map[string]*extv1.CustomResourceDefinition

func readIstio() (crds, error) {
	dir, err := moduleDir("istio.io/api")
	if err != nil {
		return nil, err
	}
	raw, err := os.ReadFile(filepath.Join(dir, istioFile))
	if err != nil {
		return nil, err
	}
	found := crds{}
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(raw), 4096)
	for {
		crd := &extv1.CustomResourceDefinition{}
		err := decoder.Decode(crd)
		if errors.Is(err, io.EOF) {
			return found, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", istioFile, err)
		}
		found[crd.Name] = crd
	}
}

// schema returns the schema at a path in a version of a CRD, with descriptions.
func (c crds) schema(name, version string, path ...string) (*extv1.JSONSchemaProps, error) {
	crd, ok := c[name]
	if !ok {
		return nil, fmt.Errorf("CRD %s not found", name)
	}
	for i := range crd.Spec.Versions {
		v := &crd.Spec.Versions[i]
		if v.Name != version {
			continue
		}
		s, err := at(v.Schema.OpenAPIV3Schema, path...)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		s = s.DeepCopy()
		explainDurations(s)
		return s, nil
	}
	return nil, fmt.Errorf("%s: version %s not found", name, version)
}
