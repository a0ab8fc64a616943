// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
)

// maxGateways is the maximum length of tenancy.gateways.allowed.
const maxGateways = 256

func (v *validator) gateways(p *field.Path, g *configv1alpha1.Gateways) {
	oneOf(v, p.Child("mode"), g.Mode, configv1alpha1.GatewaysSameNamespace, configv1alpha1.GatewaysListed, configv1alpha1.GatewaysAny)
	allowed := p.Child("allowed")
	switch {
	case g.Mode == configv1alpha1.GatewaysListed && len(g.Allowed) == 0:
		v.errs = append(v.errs, field.Required(allowed, "list the Gateways as NAMESPACE/NAME, or set mode to SameNamespace"))
	case g.Mode != configv1alpha1.GatewaysListed && len(g.Allowed) > 0:
		v.invalid(allowed, g.Allowed, "applies only to mode Listed: set mode to Listed, or omit allowed")
	case len(g.Allowed) > maxGateways:
		v.errs = append(v.errs, field.TooMany(allowed, len(g.Allowed), maxGateways))
	}
	for i, entry := range g.Allowed {
		namespace, name, _ := strings.Cut(entry, "/")
		if len(validation.IsDNS1123Label(namespace)) > 0 || name != "*" && len(validation.IsDNS1123Label(name)) > 0 {
			v.invalid(allowed.Index(i), entry, "must be NAMESPACE/NAME, or NAMESPACE/* for all Gateways of a namespace")
		}
		if slices.Contains(g.Allowed[:i], entry) {
			v.errs = append(v.errs, field.Duplicate(allowed.Index(i), entry))
		}
	}
}
