// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
)

const (
	// ProxyConfigAnnotation contains Istio's ProxyConfig of a pod.
	ProxyConfigAnnotation = "proxy.istio.io/config"
	// DNSCapture is the variable in its proxyMetadata that enables DNS capture.
	DNSCapture = "ISTIO_META_DNS_CAPTURE"
)

// proxyConfigFields decides about the fields of ProxyConfig (Istio,
// api/mesh/v1alpha1). A test compares the names with Istio's. A nil check accepts
// every value. A check returns the problem, or an empty string.
var proxyConfigFields = map[string]func(value any) string{
	"availabilityZone":           nil,
	"binaryPath":                 nil,
	"caCertificatesPem":          nil,
	"concurrency":                nil,
	"configPath":                 nil,
	"connectionSettings":         nil,
	"controlPlaneAuthPolicy":     nil,
	"customConfigFile":           nil,
	"discoveryAddress":           never("moves the proxy to a control plane that may not know the objects of this namespace: remove it, and set the label istio.io/rev of the namespace"),
	"discoveryRefreshDelay":      nil,
	"drainDuration":              nil,
	"envoyAccessLogService":      nil,
	"envoyMetricsService":        nil,
	"envoyMetricsServiceAddress": nil,
	"extraStatTags":              nil,
	"fileFlushInterval":          nil,
	"fileFlushMinSizeKb":         nil,
	"gatewayTopology":            nil,
	"holdApplicationUntilProxyStarts": only(false,
		"changes the order of the containers, on which the start gate depends: remove it, and set the annotation sidecar.istio.io/nativeSidecar to \"true\" to start the proxy before the guest"),
	"image":                      nil,
	"interceptionMode":           only("REDIRECT", "the operator's rules require mode REDIRECT: remove it"),
	"meshId":                     nil,
	"privateKeyProvider":         nil,
	"proxyAdminPort":             only(15000, "the operator's rules protect the proxy's administration port 15000: remove it"),
	"proxyBootstrapTemplatePath": nil,
	"proxyHeaders":               nil,
	"proxyMetadata":              proxyMetadata,
	"proxyStatsMatcher":          nil,
	"readinessProbe":             nil,
	"runtimeValues":              nil,
	"sds":                        nil,
	"serviceCluster":             nil,
	"statNameLength":             nil,
	"statsCompression":           nil,
	"statsdUdpAddress":           nil,
	"statusPort":                 only(15020, "must be 15020, the port that the operator's rules protect from the guest: remove it"),
	"terminationDrainDuration":   nil,
	"tracing":                    nil,
	"tracingServiceName":         nil,
	"zipkinAddress":              nil,
}

func never(problem string) func(any) string { return func(any) string { return problem } }

// only accepts one value.
func only(value any, problem string) func(any) string {
	return func(v any) string {
		if strings.EqualFold(fmt.Sprint(v), fmt.Sprint(value)) {
			return ""
		}
		return problem
	}
}

// movedPorts are variables of the proxy that move ports which the operator's rules
// protect, with the port of each (Istio, pilot/cmd/pilot-agent/options).
var movedPorts = map[string]string{
	"DNS_PROXY_ADDR":        "localhost:15053",
	"ENVOY_PROMETHEUS_PORT": "15090",
	"ENVOY_STATUS_PORT":     "15021",
}

// proxyMetadata rejects variables that move ports or change the interception mode.
// ISTIO_META_DNS_CAPTURE depends on the spec: see proxyConfig.
func proxyMetadata(value any) string {
	variables, _ := value.(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(movedPorts)) {
		if v, ok := variables[name]; ok && fmt.Sprint(v) != movedPorts[name] {
			return fmt.Sprintf("%s moves a port that the operator's rules protect: remove the variable", name)
		}
	}
	if v, ok := variables["ISTIO_META_INTERCEPTION_MODE"]; ok && !strings.EqualFold(fmt.Sprint(v), "REDIRECT") {
		return "ISTIO_META_INTERCEPTION_MODE must be REDIRECT, which the operator's rules require: remove the variable"
	}
	return ""
}

// proxyConfig is the check of ProxyConfigAnnotation. In ambient mode there is no
// proxy that reads it.
func proxyConfig(mvm *v1alpha1.MeshedVirtualMachine, value string) string {
	if isAmbient(mvm) {
		return ""
	}
	config := map[string]any{}
	if err := yaml.Unmarshal([]byte(value), &config); err != nil {
		return "is not valid YAML, so Istio's injector would reject the pod: correct the annotation"
	}
	for _, name := range slices.Sorted(maps.Keys(config)) {
		check, known := proxyConfigFields[jsonName(name)]
		switch {
		case !known:
			return fmt.Sprintf("%s is not a field of Istio's ProxyConfig, and Istio ignores unknown fields: correct or remove the field", name)
		case check == nil:
			continue
		}
		if problem := check(config[name]); problem != "" {
			return name + ": " + problem
		}
	}
	return dnsCapture(mvm, config)
}

// jsonName returns the JSON name of a field. Istio also accepts the names of the
// protocol buffer, for example status_port (Protocol Buffers, ProtoJSON format).
func jsonName(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

// dnsCapture rejects a configuration whose capture of DNS differs from
// spec.capture.dns.
func dnsCapture(mvm *v1alpha1.MeshedVirtualMachine, config map[string]any) string {
	variables := map[string]any{}
	for name, value := range config {
		if m, ok := value.(map[string]any); ok && jsonName(name) == "proxyMetadata" {
			variables = m
		}
	}
	captured := strings.EqualFold(fmt.Sprint(variables[DNSCapture]), "true")
	switch proxy := mvm.Spec.Capture.DNS == v1alpha1.DNSPolicyProxy; {
	case proxy && !captured:
		return fmt.Sprintf("must set %s in proxyMetadata, because spec.capture.dns is Proxy: add the variable, or remove the annotation", DNSCapture)
	case !proxy && captured:
		return fmt.Sprintf("proxyMetadata: %s has no effect on the guest, because spec.capture.dns is not Proxy: set spec.capture.dns to Proxy, or remove the variable", DNSCapture)
	default:
		return ""
	}
}
