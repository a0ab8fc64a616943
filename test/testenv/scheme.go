// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	istionetworkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	istiosecurityv1 "istio.io/client-go/pkg/apis/security/v1"
	istiotelemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
)

// Scheme returns a scheme with all kinds that tests use.
func Scheme() *runtime.Scheme {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme,
		extv1.AddToScheme,
		istionetworkingv1.AddToScheme,
		istiosecurityv1.AddToScheme,
		istiotelemetryv1.AddToScheme,
		kubevirtv1.AddToScheme,
		v1alpha1.AddToScheme,
	} {
		utilruntime.Must(add(s))
	}
	return s
}
