// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// singletons are the kinds of which a guest with mesh ports has one object,
// with the name of the MeshedVirtualMachine: all except PodNATConfiguration.
var singletons = func() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, k := range children.Kinds() {
		if k.GroupVersionKind != children.PodNATConfigurationKind {
			out = append(out, k.GroupVersionKind)
		}
	}
	return out
}()

// drifts are changes of a field of the spec, by kind.
var drifts = map[string]struct {
	path  []string
	value any
}{
	"Service":            {[]string{"spec", "selector", v1alpha1.LabelService}, "other"},
	"DestinationRule":    {[]string{"spec", "host"}, "other.example.com"},
	"VirtualService":     {[]string{"spec", "hosts"}, []any{"other.example.com"}},
	"PeerAuthentication": {[]string{"spec", "mtls", "mode"}, "DISABLE"},
	"VirtualMachine":     {[]string{"spec", "template", "metadata", "labels", "app"}, "other"},
}
