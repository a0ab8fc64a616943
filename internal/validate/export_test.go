// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"maps"
	"regexp"
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

// Patterns are the patterns of this package that repeat a pattern of the CRD, by field.
var Patterns = map[string]*regexp.Regexp{
	"spec.service.name":                               nameShape,
	"spec.mesh.routes.hosts[]":                        hostShape,
	"spec.mesh.routes.gateways[]":                     gatewayShape,
	"spec.mesh.allow[].serviceAccount":                serviceAccountShape,
	"spec.mesh.allow[].namespace":                     labelShape,
	"spec.mesh.authorization[].name":                  labelShape,
	"spec.mesh.waypoint.name":                         labelShape,
	"spec.mesh.waypoint.namespace":                    labelShape,
	"spec.mesh.identity.serviceAccountName":           accountShape,
	"spec.mesh.egress.hosts[]":                        egressHostShape,
	"spec.mesh.egress.services[].name":                labelShape,
	"spec.mesh.egress.services[].hosts[]":             externalHostShape,
	"spec.ports[].rateLimit.rules[].name":             labelShape,
	"spec.ports[].rateLimit.rules[].match.pathPrefix": pathPrefixShape,
}

// Limits are the limits of this package that repeat a limit of the CRD, by field and
// keyword.
var Limits = map[string]int{
	"spec.service.name maxLength":                        MaxNameLength,
	"spec.mesh.routes.http maxItems":                     maxRoutes,
	"spec.mesh.routes.tls maxItems":                      maxRoutes,
	"spec.mesh.routes.tcp maxItems":                      maxRoutes,
	"spec.mesh.authorization[].rules maxItems":           maxAuthorizationRules,
	"spec.mesh.authentication.jwtRules maxItems":         maxJWTRules,
	"spec.mesh.identity.serviceAccountName maxLength":    maxAccountLength,
	"spec.mesh.telemetry.accessLogging maxItems":         maxAccessLogging,
	"spec.mesh.telemetry.tracing maxItems":               maxTracing,
	"spec.mesh.telemetry.metrics maxItems":               maxMetrics,
	"spec.mesh.egress.services[].ports[].number maximum": MaxPort,
	"spec.ports[].port maximum":                          MaxPort,
	"spec.ports[].targetPort maximum":                    MaxPort,
	"spec.ports[].maxConnections maximum":                maxLimit,
	"spec.ports[].rateLimit.requests maximum":            maxLimit,
	"spec.ports[].rateLimit.burst maximum":               maxLimit,
	"spec.ports[].rateLimit.rules[].requests maximum":    maxLimit,
	"spec.ports[].rateLimit.rules[].burst maximum":       maxLimit,
}

// Enumerations are the lists of values of this package that repeat an enumeration of the
// CRD, by field.
func Enumerations() map[string][]string {
	return map[string][]string{
		"spec.ports[].rateLimit.rules[].match.methods[]": texts(httpMethods),
		"spec.ports[].rateLimit.per":                     texts(periods),
		"spec.ports[].rateLimit.rules[].per":             texts(periods),
		"spec.mesh.egress.services[].ports[].protocol":   texts(externalProtocols),
	}
}

func texts[T ~string](values []T) []string {
	var out []string
	for _, v := range values {
		out = append(out, string(v))
	}
	return out
}
