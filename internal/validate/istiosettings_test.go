// SPDX-License-Identifier: Apache-2.0

package validate_test

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"istio.io/api/annotation"
	"istio.io/api/label"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/validate"
)

// upstreamSettings are the annotations and labels of the version of Istio's API in
// go.mod.
func upstreamSettings() (annotations, labels []string) {
	for _, a := range annotation.AllResourceAnnotations() {
		annotations = append(annotations, a.Name)
	}
	for _, l := range label.AllResourceLabels() {
		labels = append(labels, l.Name)
	}
	return annotations, labels
}

// TestEverySettingIsDecided compares the decisions with Istio's lists. It fails when
// a new version of Istio adds or removes an annotation or a label.
func TestEverySettingIsDecided(t *testing.T) {
	annotations, labels := upstreamSettings()
	for _, list := range []struct {
		what    string
		istio   []string
		decided []validate.Setting
	}{{"annotation", annotations, validate.Annotations}, {"label", labels, validate.Labels}} {
		decisions := map[string]int{}
		for _, s := range list.decided {
			decisions[s.Name]++
			if s.Effect == validate.EffectRefused && s.Problem(b.MVM("web").Obj(), "\x00") == "" && s.Problem(b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient).Obj(), "\x00") == "" && !dependsOnSpec[s.Name] {
				t.Errorf("%s %s is refused, but accepts an unknown value", list.what, s.Name)
			}
		}
		for _, name := range list.istio {
			if decisions[name] == 0 {
				t.Errorf("%s %s of Istio is not decided: add it to internal/validate/istiosettings.go", list.what, name)
			}
		}
		for name, n := range decisions {
			if n > 1 {
				t.Errorf("%s %s is decided %d times", list.what, name, n)
			}
			if !slices.Contains(list.istio, name) {
				t.Errorf("%s %s is decided and is not in Istio's list", list.what, name)
			}
		}
		t.Logf("%d of Istio's %ss are decided", len(list.istio), list.what)
	}
}

// dependsOnSpec are refused settings that accept an unknown value because only
// other values contradict a spec.
var dependsOnSpec = map[string]bool{
	"ambient.istio.io/bypass-inbound-capture": true,
	"sidecar.istio.io/rewriteAppHTTPProbers":  true,
}

// TestEveryFieldOfProxyConfigIsDecided compares the decided fields with the fields
// of ProxyConfig.
func TestEveryFieldOfProxyConfigIsDecided(t *testing.T) {
	istio := validate.IstioProxyConfigFields()
	decided := validate.DecidedProxyConfigFields()
	for _, name := range istio {
		if !slices.Contains(decided, name) {
			t.Errorf("field %s of ProxyConfig is not decided: add it to internal/validate/proxyconfig.go", name)
		}
	}
	for _, name := range decided {
		if !slices.Contains(istio, name) {
			t.Errorf("%s is decided and is not a field of ProxyConfig", name)
		}
	}
	t.Logf("%d fields are decided", len(decided))
}

// TestIstioSettings checks values of Istio's annotations and labels.
func TestIstioSettings(t *testing.T) {
	const template = "spec.virtualMachine.template.metadata."
	ambient := func() *b.MVMBuilder { return b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient) }
	annotated := func(name, value string) *b.MVMBuilder { return b.MVM("web").TemplateAnnotation(name, value) }
	labelled := func(name, value string) *b.MVMBuilder { return b.MVM("web").TemplateLabel(name, value) }
	config := func(yaml string) *b.MVMBuilder { return annotated(validate.ProxyConfigAnnotation, yaml) }
	probed := func(mvm *b.MVMBuilder, probe kubevirtv1.Probe) *b.MVMBuilder {
		return mvm.VM(func(s *kubevirtv1.VirtualMachineSpec) { s.Template.Spec.ReadinessProbe = &probe })
	}
	http := kubevirtv1.Probe{Handler: kubevirtv1.Handler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(8080)}}}
	tcp := kubevirtv1.Probe{Handler: kubevirtv1.Handler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)}}}
	notRewritten := func() *b.MVMBuilder {
		return annotated("sidecar.istio.io/rewriteAppHTTPProbers", "false").Ports(b.HTTP("http", 80, 8080))
	}
	for name, tc := range map[string]struct {
		mvm  *b.MVMBuilder
		want string // part of the rejection, empty for an accepted spec
	}{
		"interception NONE":             {annotated("sidecar.istio.io/interceptionMode", "NONE"), template + "annotations[sidecar.istio.io/interceptionMode]: the operator's rules require mode REDIRECT"},
		"interception TPROXY":           {annotated("sidecar.istio.io/interceptionMode", "TPROXY"), "mode REDIRECT"},
		"interception REDIRECT":         {annotated("sidecar.istio.io/interceptionMode", "REDIRECT"), ""},
		"log level":                     {annotated("sidecar.istio.io/logLevel", "debug"), ""},
		"analysis":                      {annotated("galley.istio.io/analyze-suppress", "*"), ""},
		"another's annotation":          {annotated("example.com/istio", "x"), ""},
		"status port":                   {annotated("status.sidecar.istio.io/port", "0"), "must be 15020"},
		"status port, the default":      {annotated("status.sidecar.istio.io/port", "15020"), ""},
		"template gateway":              {annotated("inject.istio.io/templates", "gateway"), "do not contain sidecar"},
		"template of an installation":   {annotated("inject.istio.io/templates", "sidecar, custom"), ""},
		"excluded inbound ports":        {annotated("traffic.sidecar.istio.io/excludeInboundPorts", "22"), "set via: Direct on entries of spec.ports"},
		"no excluded inbound ports":     {annotated("traffic.sidecar.istio.io/excludeInboundPorts", ""), ""},
		"included inbound ports, all":   {annotated("traffic.sidecar.istio.io/includeInboundPorts", "*"), ""},
		"included inbound ports, none":  {annotated("traffic.sidecar.istio.io/includeInboundPorts", ""), "list the ports that pass through the proxy in spec.ports"},
		"excluded outbound ports":       {annotated("traffic.sidecar.istio.io/excludeOutboundPorts", "25"), "use spec.capture.outbound.excludePorts"},
		"included outbound ports":       {annotated("traffic.sidecar.istio.io/includeOutboundPorts", "443"), "all TCP ports pass through the proxy"},
		"excluded networks":             {annotated("traffic.sidecar.istio.io/excludeOutboundIPRanges", "10.0.0.0/8"), "use spec.capture.outbound.excludeCIDRs"},
		"included networks":             {annotated("traffic.sidecar.istio.io/includeOutboundIPRanges", "10.0.0.0/8"), "use spec.capture.outbound.includeCIDRs"},
		"excluded interfaces":           {annotated("traffic.sidecar.istio.io/excludeInterfaces", "net1"), "only the pod network is captured"},
		"KubeVirt's bridge":             {annotated("traffic.sidecar.istio.io/kubevirtInterfaces", "k6t-eth0"), ""},
		"another bridge":                {annotated("istio.io/reroute-virtual-interfaces", "br0"), "k6t-eth0"},
		"pasted from a pod":             {annotated("sidecar.istio.io/status", "{}"), "only Istio's injector"},
		"another control plane":         {annotated("sidecar.istio.io/discoveryAddress", "istiod.other:15012"), "set the label istio.io/rev of the namespace"},
		"annotation of a Service":       {annotated("networking.istio.io/exportTo", "."), "only on Services"},
		"another revision":              {labelled("istio.io/rev", "canary"), template + "labels[istio.io/rev]: the revision of the namespace has precedence"},
		"plain text from clients":       {labelled("security.istio.io/tlsMode", "disabled"), "set spec.mesh.mtls"},
		"mutual TLS from clients":       {labelled("security.istio.io/tlsMode", "istio"), ""},
		"canonical name":                {labelled("service.istio.io/canonical-name", "web"), ""},
		"gateway":                       {labelled("gateway.networking.k8s.io/gateway-name", "web"), "is reserved for Istio gateways"},
		"waypoint with a sidecar":       {labelled("istio.io/use-waypoint", "waypoint"), "no effect on a guest with a sidecar"},
		"waypoint in ambient mode":      {ambient().TemplateLabel("istio.io/use-waypoint", "waypoint"), ""},
		"probe not rewritten, Strict":   {probed(notRewritten(), http), "refuses the kubelet's plain-text probe of port 8080 (spec.virtualMachine.template.spec.readinessProbe.httpGet.port)"},
		"probe not rewritten, weaker":   {probed(notRewritten().PortMTLS("http", v1alpha1.MTLSModePermissive), http), ""},
		"probe not rewritten, clients":  {probed(notRewritten().PortMTLS("http", v1alpha1.MTLSModePermissive).Allow(v1alpha1.AllowedClient{Namespace: "frontend"}), http), "the kubelet has no identity in the mesh: remove the annotation"},
		"probe not rewritten, Direct":   {probed(annotated("sidecar.istio.io/rewriteAppHTTPProbers", "false").Ports(b.Direct("http", 8080)), http), ""},
		"probe that only connects":      {probed(notRewritten(), tcp), "so it always succeeds"},
		"probe not rewritten, ambient":  {probed(notRewritten().DataPlane(v1alpha1.DataPlaneAmbient), http), ""},
		"no probe":                      {notRewritten(), ""},
		"probe rewritten":               {probed(annotated("sidecar.istio.io/rewriteAppHTTPProbers", "true").Ports(b.HTTP("http", 80, 8080)), http), ""},
		"configuration":                 {config("concurrency: 2\nterminationDrainDuration: 30s\n"), ""},
		"configuration, interception":   {config(`{"interceptionMode":"TPROXY"}`), template + "annotations[proxy.istio.io/config]: interceptionMode: the operator's rules require mode REDIRECT"},
		"configuration, status port":    {config("statusPort: 15099"), "statusPort: must be 15020"},
		"configuration, default port":   {config("statusPort: 15020"), ""},
		"configuration, admin port":     {config("proxyAdminPort: 15900"), "proxyAdminPort: the operator's rules protect"},
		"configuration, other notation": {config("proxy_admin_port: 15900"), "protect the proxy's administration port"},
		"configuration, order":          {config("holdApplicationUntilProxyStarts: true"), "sidecar.istio.io/nativeSidecar"},
		"configuration, default order":  {config("holdApplicationUntilProxyStarts: false"), ""},
		"configuration, discovery":      {config("discoveryAddress: istiod.other:15012"), "discoveryAddress: moves the proxy"},
		"configuration, unknown field":  {config("holdAplication: true"), "holdAplication is not a field"},
		"configuration, not YAML":       {config("a: b: c"), "not valid YAML"},
		"configuration, moved port":     {config("proxyMetadata: {ENVOY_STATUS_PORT: \"15099\"}"), "ENVOY_STATUS_PORT moves a port"},
		"configuration, variables":      {config("proxyMetadata: {EXIT_ON_ZERO_ACTIVE_CONNECTIONS: \"true\", ISTIO_DUAL_STACK: \"true\"}"), ""},
		"configuration, DNS":            {config("proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"true\"}"), "set spec.capture.dns to Proxy"},
		"configuration, DNS of both":    {config("proxyMetadata: {ISTIO_META_DNS_CAPTURE: \"true\"}").DNS(v1alpha1.DNSPolicyProxy), ""},
		"configuration, no DNS":         {config("{}").DNS(v1alpha1.DNSPolicyProxy), "must set ISTIO_META_DNS_CAPTURE"},
		"configuration, no DNS, empty":  {config("").DNS(v1alpha1.DNSPolicyProxy), "must set ISTIO_META_DNS_CAPTURE"},
		"configuration, ambient":        {ambient().TemplateAnnotation(validate.ProxyConfigAnnotation, "statusPort: 1"), ""},
		"ambient.istio.io/dns-capture":  {annotated("ambient.istio.io/dns-capture", "true"), "contradicts spec.capture.dns"},
	} {
		t.Run(name, func(t *testing.T) {
			err := validate.Spec(tc.mvm.Obj())
			switch {
			case tc.want == "" && err != nil:
				t.Errorf("rejected: %v", err)
			case tc.want != "" && err == nil:
				t.Errorf("accepted, want a rejection with %q", tc.want)
			case tc.want != "" && !strings.Contains(err.Error(), tc.want):
				t.Errorf("rejected with\n%v\nwant a rejection with\n%s", err, tc.want)
			}
		})
	}
}

// TestSettingsAreDocumented compares docs/using.md with the decisions.
func TestSettingsAreDocumented(t *testing.T) {
	text, err := os.ReadFile("../../docs/using.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Istio's annotations and labels\n")
	section, _, _ = strings.Cut(section, "\n## ")
	if !found {
		t.Fatal("docs/using.md has no section about Istio's annotations and labels")
	}
	documented := map[validate.Effect][]string{}
	name := regexp.MustCompile("`([a-z0-9.]+/[A-Za-z.-]+)`")
	for line := range strings.Lines(section) {
		effect := validate.EffectRefused
		switch {
		case strings.HasPrefix(line, "- **Honored**"):
			effect = validate.EffectHonored
		case strings.HasPrefix(line, "- **Harmless**"):
			effect = validate.EffectHarmless
		case strings.HasPrefix(line, "| `"):
			line, _, _ = strings.Cut(strings.TrimPrefix(line, "| "), " | ")
		default:
			continue
		}
		for _, m := range name.FindAllStringSubmatch(line, -1) {
			documented[effect] = append(documented[effect], m[1])
		}
	}
	decided := map[validate.Effect][]string{}
	for _, s := range slices.Concat(validate.Annotations, validate.Labels) {
		decided[s.Effect] = append(decided[s.Effect], s.Name)
	}
	for effect, names := range decided {
		slices.Sort(names)
		slices.Sort(documented[effect])
		if want, got := slices.Compact(names), slices.Compact(documented[effect]); !slices.Equal(want, got) {
			t.Errorf("docs/using.md: %s settings differ\nmissing: %v\nunexpected: %v", effect, minus(want, got), minus(got, want))
		}
	}
}

func minus(a, b []string) []string {
	has := map[string]bool{}
	for _, s := range b {
		has[s] = true
	}
	out := map[string]bool{}
	for _, s := range a {
		if !has[s] {
			out[s] = true
		}
	}
	return slices.Sorted(maps.Keys(out))
}
