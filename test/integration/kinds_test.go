// SPDX-License-Identifier: Apache-2.0

package integration

import (
	telemetryv1alpha1 "istio.io/api/telemetry/v1alpha1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// singletons are the kinds of which every guest with mesh ports has one object, with
// the name of the MeshedVirtualMachine: all required kinds except PodNATConfiguration.
// requested are the kinds of which a guest with the policies of withPolicies also has
// such an object: all optional kinds except ServiceEntry, whose objects have other names.
var singletons, requested = func() (required, optional []schema.GroupVersionKind) {
	for _, k := range children.Kinds() {
		switch {
		case k.GroupVersionKind == children.PodNATConfigurationKind, k.GroupVersionKind == children.ServiceEntryKind:
		case k.Optional:
			optional = append(optional, k.GroupVersionKind)
		default:
			required = append(required, k.GroupVersionKind)
		}
	}
	return required, optional
}()

// withPolicies declares an object of each optional kind.
func withPolicies(o *v1alpha1.MeshedVirtualMachine) *v1alpha1.MeshedVirtualMachine {
	o.Spec.Mesh.Allow = []v1alpha1.AllowedClient{{ServiceAccount: "frontend/web", Ports: []string{"http"}}, {Namespace: "monitoring"}}
	o.Spec.Ports[0].MaxConnections = 100
	o.Spec.Mesh.Authentication = v1alpha1.AuthenticationSpec{JWTRules: v1alpha1.JWTRules{{Issuer: "https://accounts.example.com"}}}
	o.Spec.Mesh.Telemetry = v1alpha1.TelemetrySpec{AccessLogging: v1alpha1.AccessLogging{{Providers: []*telemetryv1alpha1.ProviderRef{{Name: "envoy"}}}}}
	o.Spec.Mesh.Egress.Outbound = v1alpha1.OutboundModeRegistryOnly
	return o
}

// drifts are changes of a field of the spec, by kind.
var drifts = map[string]struct {
	path  []string
	value any
}{
	"Service":               {[]string{"spec", "selector", v1alpha1.LabelService}, "other"},
	"DestinationRule":       {[]string{"spec", "host"}, "other.example.com"},
	"VirtualService":        {[]string{"spec", "hosts"}, []any{"other.example.com"}},
	"PeerAuthentication":    {[]string{"spec", "mtls", "mode"}, "DISABLE"},
	"AuthorizationPolicy":   {[]string{"spec", "rules"}, []any{map[string]any{}}},
	"EnvoyFilter":           {[]string{"spec", "workloadSelector", "labels", v1alpha1.LabelMeshedVirtualMachine}, "other"},
	"RequestAuthentication": {[]string{"spec", "jwtRules"}, []any{map[string]any{"issuer": "https://example.org"}}},
	"VirtualMachine":        {[]string{"spec", "template", "metadata", "labels", "app"}, "other"},
	"Telemetry":             {[]string{"spec", "accessLogging"}, []any{map[string]any{"disabled": true}}},
	"Sidecar":               {[]string{"spec", "egress"}, []any{map[string]any{"hosts": []any{"*/*"}}}},
}
