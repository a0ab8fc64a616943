// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// copies maps files of config/ to the files of the chart that templates read.
var copies = map[string]string{
	"config/crd/bases/meshvm.io_meshedvirtualmachines.yaml": "files/crds/meshedvirtualmachines.yaml",
	"config/crd/bases/meshvm.io_podnatconfigurations.yaml":  "files/crds/podnatconfigurations.yaml",
	"config/crd/bases/meshvm.io_connectiontraces.yaml":      "files/crds/connectiontraces.yaml",
	"config/rbac/role.yaml":                                 "files/role.yaml",
	"config/monitoring/rules.yaml":                          "files/alerts.yaml",
}

// syncChart updates the derived files of the chart in out from the repository root.
func syncChart(root, out string) error {
	crds, err := filepath.Glob(filepath.Join(root, "config/crd/bases/*.yaml"))
	if err != nil {
		return err
	}
	for _, crd := range crds {
		name, err := filepath.Rel(root, crd)
		if err != nil {
			return err
		}
		if copies[name] == "" {
			return fmt.Errorf("%s is not part of the chart: add it to copies in hack/helm/chart/sync.go", name)
		}
	}
	for from, to := range copies {
		data, err := os.ReadFile(filepath.Join(root, from))
		if err != nil {
			return err
		}
		to = filepath.Join(out, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(to, data, 0o644); err != nil {
			return err
		}
	}
	return syncSchema(root, filepath.Join(out, "values.schema.json"))
}

// valuesSchema is values.schema.json. The order of the fields is the order in
// the file.
type valuesSchema struct {
	Schema               string          `json:"$schema"`
	Type                 string          `json:"type"`
	AdditionalProperties bool            `json:"additionalProperties"`
	Properties           json.RawMessage `json:"properties"`
	// Defs contains the schemas of Go types by name. syncSchema writes it.
	Defs map[string]object `json:"$defs"`
}

// syncSchema replaces the definitions of Go types in a values.schema.json.
func syncSchema(root, file string) error {
	raw, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	var schema valuesSchema
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&schema); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	if schema.Defs, err = typeSchemas(root); err != nil {
		return err
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(schema); err != nil {
		return err
	}
	return os.WriteFile(file, b.Bytes(), 0o644)
}
