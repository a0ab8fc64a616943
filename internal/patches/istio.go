// SPDX-License-Identifier: Apache-2.0

package patches

import (
	"fmt"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/validation"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"meshvm.io/meshvm/internal/validate"
)

// rejectedByIstio validates a patched object as Istio's webhook does. It returns the problem,
// empty for none.
func rejectedByIstio(o *unstructured.Unstructured) string {
	var err error
	in := config.Config{Meta: config.Meta{Name: o.GetName(), Namespace: o.GetNamespace()}}
	decode := func(into any) error {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into); err != nil {
			return fmt.Errorf("a field has another type: %w", err)
		}
		return nil
	}
	switch o.GetKind() {
	case "VirtualService":
		vs := &networkingv1.VirtualService{}
		if err = decode(vs); err == nil {
			in.Spec = &vs.Spec
			_, err = validation.ValidateVirtualService(in)
		}
	case "DestinationRule":
		dr := &networkingv1.DestinationRule{}
		if err = decode(dr); err == nil {
			in.Spec = &dr.Spec
			_, err = validation.ValidateDestinationRule(in)
		}
	case "PeerAuthentication":
		pa := &securityv1.PeerAuthentication{}
		if err = decode(pa); err == nil {
			in.Spec = &pa.Spec
			_, err = validation.ValidatePeerAuthentication(in)
		}
	}
	if err != nil {
		return validate.Flattened(err)
	}
	return ""
}
