// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"maps"
	"slices"

	meshconfig "istio.io/api/mesh/v1alpha1"
)

// IstioProxyConfigFields returns the JSON names of the fields of Istio's
// ProxyConfig.
func IstioProxyConfigFields() []string {
	var out []string
	fields := (&meshconfig.ProxyConfig{}).ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		out = append(out, fields.Get(i).JSONName())
	}
	return out
}

// DecidedProxyConfigFields returns the fields that the package decides about.
func DecidedProxyConfigFields() []string { return slices.Sorted(maps.Keys(proxyConfigFields)) }
