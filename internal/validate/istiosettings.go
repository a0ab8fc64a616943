// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Effect is the decision about one of Istio's annotations or labels in the
// metadata of the template.
type Effect string

const (
	// EffectHonored means that Istio reads the setting, and that it does not
	// contradict the spec.
	EffectHonored Effect = "Honored"
	// EffectHarmless means that the setting changes nothing for the guest: Istio
	// ignores it, or overwrites it.
	EffectHarmless Effect = "Harmless"
	// EffectRefused means that at least one value is rejected, because it
	// contradicts the spec or silently has no effect.
	EffectRefused Effect = "Refused"
)

// Setting is the decision about one of Istio's annotations or labels.
type Setting struct {
	// Name is the name of the annotation or label.
	Name string
	// Effect is the decision.
	Effect Effect
	// accepts lists the values of a refused setting that are accepted
	// nevertheless, because they request the state that the operator ensures.
	accepts []string
	// problem is the reason for which a value is rejected, and the solution.
	problem string
	// check replaces accepts and problem for settings that depend on the spec. It
	// returns an empty string for an accepted value.
	check func(mvm *v1alpha1.MeshedVirtualMachine, value string) string
}

// Problem returns the message for a rejected value, an empty string for an
// accepted one.
func (s Setting) Problem(mvm *v1alpha1.MeshedVirtualMachine, value string) string {
	switch {
	case s.check != nil:
		return s.check(mvm, value)
	case s.Effect != EffectRefused, slices.ContainsFunc(s.accepts, func(a string) bool { return strings.EqualFold(a, value) }):
		return ""
	default:
		return s.problem
	}
}

func honored(names ...string) []Setting  { return settings(EffectHonored, "", names) }
func harmless(names ...string) []Setting { return settings(EffectHarmless, "", names) }

// elsewhere refuses settings that Istio reads only on other objects than pods.
func elsewhere(kind string, names ...string) []Setting {
	return settings(EffectRefused, "Istio reads this setting only on "+kind+", so it has no effect on a guest: remove it", names)
}

// ofService refuses settings that Istio reads on Services.
func ofService(list string, names ...string) []Setting {
	return settings(EffectRefused, "Istio reads this setting only on Services, so it has no effect here: set it in spec.service."+list, names)
}

func settings(effect Effect, problem string, names []string) []Setting {
	out := make([]Setting, 0, len(names))
	for _, n := range names {
		out = append(out, Setting{Name: n, Effect: effect, problem: problem})
	}
	return out
}

func refused(name, problem string, accepts ...string) []Setting {
	return []Setting{{Name: name, Effect: EffectRefused, problem: problem, accepts: accepts}}
}

func refusedBy(name string, check func(*v1alpha1.MeshedVirtualMachine, string) string) []Setting {
	return []Setting{{Name: name, Effect: EffectRefused, check: check}}
}

const (
	onlyInjector = "only Istio's injector may set this: remove it"
	onlyGateways = "is reserved for Istio gateways: remove it"
	onRevision   = "the revision of the namespace has precedence over the revision of a pod, so this may have no effect: remove it, and set the label istio.io/rev of the namespace"
)

// Annotations lists the decisions about Istio's annotations (Istio, api/annotation).
// A test compares the list with Istio's. docs/using.md documents it.
var Annotations = slices.Concat(
	honored(
		"prometheus.istio.io/merge-metrics",
		"readiness.status.sidecar.istio.io/failureThreshold",
		"readiness.status.sidecar.istio.io/initialDelaySeconds",
		"readiness.status.sidecar.istio.io/periodSeconds",
		"sidecar.istio.io/agentLogLevel",
		"sidecar.istio.io/bootstrapOverride",
		"sidecar.istio.io/componentLogLevel",
		"sidecar.istio.io/extraStatTags",
		"sidecar.istio.io/logLevel",
		"sidecar.istio.io/nativeSidecar",
		"sidecar.istio.io/proxyCPU",
		"sidecar.istio.io/proxyCPULimit",
		"sidecar.istio.io/proxyImage",
		"sidecar.istio.io/proxyImageType",
		"sidecar.istio.io/proxyMemory",
		"sidecar.istio.io/proxyMemoryLimit",
		"sidecar.istio.io/statsCompression",
		"sidecar.istio.io/statsEvictionInterval",
		"sidecar.istio.io/statsFlushInterval",
		"sidecar.istio.io/statsHistogramBins",
		"sidecar.istio.io/statsHistogramBuckets",
		"sidecar.istio.io/statsInclusionPrefixes",
		"sidecar.istio.io/statsInclusionRegexps",
		"sidecar.istio.io/statsInclusionSuffixes",
		"sidecar.istio.io/userVolume",
		"sidecar.istio.io/userVolumeMount",
	),
	harmless(
		"galley.istio.io/analyze-suppress",
		"istio.io/rev", // The injector overwrites it.
		"readiness.status.sidecar.istio.io/applicationPorts",
	),
	refusedBy(v1alpha1.AnnotationAmbientBypassInbound, bypassInbound),
	refusedBy(v1alpha1.AnnotationAmbientDNSCapture, ambientDNS),
	refused(v1alpha1.AnnotationAmbientRedirection,
		"only istio-cni may set this annotation, which reports that it has enrolled the pod: remove it"),
	refusedBy("inject.istio.io/templates", templates),
	// KubeVirt sets both to its bridge.
	refused("istio.io/reroute-virtual-interfaces", otherInterface, guestBridge),
	refused("traffic.sidecar.istio.io/kubevirtInterfaces", otherInterface, guestBridge),
	refusedBy(ProxyConfigAnnotation, proxyConfig),
	refused("proxy.istio.io/overrides", onlyInjector),
	refused("sidecar.istio.io/discoveryAddress",
		"moves the proxy to a control plane that may not know the objects of this namespace: remove it, and set the label istio.io/rev of the namespace"),
	refusedBy(v1alpha1.LabelSidecarInject, inject),
	refused("sidecar.istio.io/interceptionMode",
		"the operator's rules require mode REDIRECT: remove the annotation", "REDIRECT"),
	refusedBy(rewriteProbes, probeRewrite),
	refused("sidecar.istio.io/status", onlyInjector),
	refused("status.sidecar.istio.io/port",
		"must be 15020, the port that the operator's rules protect from the guest: remove the annotation", "15020"),
	refused("traffic.sidecar.istio.io/excludeInboundPorts",
		"has no effect, because the operator's rules decide: set via: Direct on entries of spec.ports, or use spec.capture.inbound.excludePorts", ""),
	refused("traffic.sidecar.istio.io/includeInboundPorts",
		"has no effect, because the operator's rules decide: list the ports that pass through the proxy in spec.ports", "*"),
	refused("traffic.sidecar.istio.io/excludeOutboundPorts",
		"has no effect on the guest: use spec.capture.outbound.excludePorts", ""),
	refused("traffic.sidecar.istio.io/includeOutboundPorts",
		"has no effect, because all TCP ports pass through the proxy: remove it, and list exceptions in spec.capture.outbound.excludePorts", ""),
	refused("traffic.sidecar.istio.io/excludeOutboundIPRanges",
		"has no effect on the guest: use spec.capture.outbound.excludeCIDRs", ""),
	refused("traffic.sidecar.istio.io/includeOutboundIPRanges",
		"has no effect on the guest: use spec.capture.outbound.includeCIDRs", "*"),
	refused("traffic.sidecar.istio.io/excludeInterfaces",
		"has no effect, because only the pod network is captured: remove it, and connect other networks to interfaces of the guest", ""),
	ofService("annotations",
		"alpha.istio.io/canonical-serviceaccounts",
		"alpha.istio.io/kubernetes-serviceaccounts",
		"istio.io/use-waypoint-canary-weight",
		"networking.istio.io/exportTo",
		"networking.istio.io/traffic-distribution",
		"traffic.istio.io/nodeSelector",
	),
	elsewhere("gateways",
		"ambient.istio.io/waypoint-inbound-binding",
		"gateway.istio.io/controller-version",
		"gateway.istio.io/name-override",
		"gateway.istio.io/service-account",
		"networking.istio.io/service-type",
	),
	elsewhere("WorkloadEntries",
		"istio.io/autoRegistrationGroup", "istio.io/connectedAt", "istio.io/disconnectedAt", "istio.io/workloadController"),
	elsewhere("AuthorizationPolicies", "istio.io/dry-run"),
	elsewhere("Ingresses", "kubernetes.io/ingress.class"),
	elsewhere("namespaces", "topology.istio.io/controlPlaneClusters"),
)

// Labels lists the decisions about Istio's labels (Istio, api/label). A test
// compares the list with Istio's. docs/using.md documents it.
var Labels = slices.Concat(
	honored(
		"service.istio.io/canonical-name",
		"service.istio.io/canonical-revision",
		"service.istio.io/workload-name",
		"topology.istio.io/locality",
		"topology.istio.io/network",
	),
	harmless(
		"operator.istio.io/component",
		"operator.istio.io/managed",
		"operator.istio.io/version",
		"topology.istio.io/cluster", // Istio overwrites it.
	),
	refusedBy(v1alpha1.LabelDataPlaneMode, dataPlaneMode),
	refused("istio.io/rev", onRevision),
	refusedBy("istio.io/use-waypoint", useWaypoint),
	refusedBy("istio.io/use-waypoint-namespace", useWaypoint),
	refused("security.istio.io/tlsMode",
		"makes clients send plain text: remove the label, and set spec.mesh.mtls", "istio"),
	refusedBy(v1alpha1.LabelSidecarInject, inject),
	ofService("labels",
		"istio.io/ingress-use-waypoint",
		"istio.io/use-waypoint-canary",
		"istio.io/use-waypoint-canary-namespace",
		"networking.istio.io/gatewayPort",
	),
	refused("gateway.istio.io/managed", onlyGateways),
	refused("gateway.networking.k8s.io/gateway-class-name", onlyGateways),
	refused("gateway.networking.k8s.io/gateway-name", onlyGateways),
	refused("istio.io/waypoint-for", onlyGateways),
	elsewhere("webhook configurations", "istio.io/tag"),
	elsewhere("ServiceEntries", "networking.istio.io/enable-autoallocate-ip"),
	elsewhere("nodes", "topology.istio.io/subzone"),
)

// istioSettings rejects annotations and labels of Istio in the metadata of the
// template.
func (e *Errors) istioSettings(mvm *v1alpha1.MeshedVirtualMachine, path *field.Path) {
	meta := mvm.Spec.VirtualMachine.Template.ObjectMeta
	for _, list := range []struct {
		path     *field.Path
		settings []Setting
		values   map[string]string
	}{{path.Child("labels"), Labels, meta.Labels}, {path.Child("annotations"), Annotations, meta.Annotations}} {
		for _, s := range list.settings {
			value, ok := list.values[s.Name]
			if !ok {
				continue
			}
			if problem := s.Problem(mvm, value); problem != "" {
				e.Reject(v1alpha1.ReasonInvalidSpec, list.path.Key(s.Name), "%s", problem)
			}
		}
	}
}
