// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"strings"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshroutes"
)

// istio validates the VirtualServices with only the routes of one entry of the spec as
// Istio's webhook does, so that the message names the entry. It does nothing if
// the entry was already rejected since the given number of problems.
func (c routeChecker) istio(problems int, path *field.Path, build func(meshroutes.Routes, *networkingv1alpha3.VirtualService) bool) {
	if len(c.errs) > problems {
		return
	}
	defaults := func(p v1alpha1.Port) []*networkingv1alpha3.RouteDestination {
		return []*networkingv1alpha3.RouteDestination{{Destination: &networkingv1alpha3.Destination{
			Host: c.fqdn, Port: &networkingv1alpha3.PortSelector{Number: v1alpha1.IstioPort(p.Port)},
		}}}
	}
	used := false
	for _, variant := range []struct {
		routes   meshroutes.Routes
		services *networkingv1alpha3.VirtualService
	}{
		{meshroutes.OfMesh(c.mvm, c.fqdn, defaults), &networkingv1alpha3.VirtualService{Hosts: []string{c.fqdn}}},
		{meshroutes.OfGateways(c.mvm, c.fqdn, defaults), &networkingv1alpha3.VirtualService{Hosts: c.mvm.Spec.Mesh.Routes.Hosts, Gateways: meshroutes.Gateways(c.mvm)}},
	} {
		if len(variant.services.GetHosts()) == 0 || !build(variant.routes, variant.services) {
			continue
		}
		used = true
		if _, err := validation.ValidateVirtualService(config.Config{Meta: config.Meta{Namespace: c.mvm.Namespace}, Spec: variant.services}); err != nil {
			c.Reject(v1alpha1.ReasonInvalidSpec, path, "Istio rejects the route: %s: correct it", Flattened(err))
			return
		}
	}
	if !used {
		c.Reject(v1alpha1.ReasonInvalidPort, path, "applies to no port via Mesh of its protocol: add a port with this protocol to spec.ports, or remove the route")
	}
}

// Flattened writes an error of Istio, which can be a list of several lines, in one line.
func Flattened(err error) string {
	var parts []string
	for line := range strings.Lines(err.Error()) {
		line = strings.TrimSpace(line)
		item, listed := strings.CutPrefix(line, "* ")
		if line != "" && (listed || !strings.HasSuffix(line, "occurred:")) {
			parts = append(parts, item)
		}
	}
	return strings.Join(parts, "; ")
}
