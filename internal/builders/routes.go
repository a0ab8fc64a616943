// SPDX-License-Identifier: Apache-2.0

package builders

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	"sigs.k8s.io/yaml"
)

// HTTPRoute decodes an HTTP route of Istio. It panics if the text is not one.
func HTTPRoute(text string) *networkingv1alpha3.HTTPRoute {
	return message(text, &networkingv1alpha3.HTTPRoute{})
}

// TLSRoute decodes a TLS route of Istio. It panics if the text is not one.
func TLSRoute(text string) *networkingv1alpha3.TLSRoute {
	return message(text, &networkingv1alpha3.TLSRoute{})
}

// TCPRoute decodes a TCP route of Istio. It panics if the text is not one.
func TCPRoute(text string) *networkingv1alpha3.TCPRoute {
	return message(text, &networkingv1alpha3.TCPRoute{})
}

func message[T proto.Message](text string, into T) T {
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err == nil {
		err = protojson.Unmarshal(raw, into)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", text, err))
	}
	return into
}
