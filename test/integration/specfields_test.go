// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"meshvm.io/meshvm/api/v1alpha1"
)

// field is a field of the spec and values of it, as JSON. In a random spec, the field has
// one of the values or is not set.
type field struct {
	path   string
	values []string
}

// fields of all specs. Ports are named http (80), ssh (22, Direct) and raw (9000, TCP).
var (
	commonFields = []field{
		{"version", []string{`"v1"`, `"v2"`, `"blue"`}},
		{"start", []string{`"Immediate"`, `"AfterProgrammed"`}},
		{"service.labels", []string{`{"team":"a"}`, `{"team":"b","tier":"front"}`}},
		{"service.annotations", []string{`{"example.com/a":"1"}`, `{"example.com/b":"2"}`}},
		{"service.internalTrafficPolicy", []string{`"Local"`, `"Cluster"`}},
		{"service.sessionAffinity", []string{`"ClientIP"`, `"None"`}},
		{"service.publishNotReadyAddresses", []string{`true`, `false`}},
		{"service.ipFamilyPolicy", []string{`"SingleStack"`, `"PreferDualStack"`}},
		{"virtualMachineMetadata.labels", []string{`{"backup":"daily"}`, `{"backup":"weekly","owner":"me"}`}},
		{"virtualMachineMetadata.annotations", []string{`{"example.com/note":"x"}`}},
		{"virtualMachine.template.metadata.labels", []string{`{"app":"web"}`, `{"app":"shop","tier":"back"}`}},
		{"virtualMachine.template.metadata.annotations", []string{`{"example.com/note":"y"}`}},
		{"virtualMachine.template.spec.terminationGracePeriodSeconds", []string{`30`, `180`}},
		{"virtualMachine.template.spec.nodeSelector", []string{`{"zone":"a"}`, `{"zone":"b","disk":"fast"}`}},
		{"virtualMachine.template.spec.tolerations", []string{`[{"key":"a","operator":"Exists"}]`, `[{"key":"b","operator":"Exists"},{"key":"c","operator":"Exists"}]`}},
		{"mesh.exportTo", []string{`["*"]`, `["."]`, `["a","b"]`}},
		{"mesh.trafficPolicy", []string{
			`{"loadBalancer":{"simple":"LEAST_REQUEST"}}`, `{"connectionPool":{"tcp":{"maxConnections":10}},"outlierDetection":{"consecutive5xxErrors":3}}`,
			`{"loadBalancer":{"consistentHash":{"httpHeaderName":"x-user"}}}`,
		}},
		{"mesh.allow", []string{`[{"namespace":"front"}]`, `[{"serviceAccount":"front/web","ports":["http"]}]`, `[{"serviceAccount":"a"},{"namespace":"b"}]`}},
		{"capture.outbound.excludeCIDRs", []string{`["192.0.2.0/24"]`, `["192.0.2.0/24","198.51.100.0/24"]`}},
		{"capture.onChange", []string{`"Keep"`, `"Reset"`}},
		{"patches", []string{
			`[{"target":"Service","merge":{"metadata":{"annotations":{"example.com/patched":"1"}}}}]`,
			`[{"target":"PeerAuthentication","merge":{"metadata":{"labels":{"patched":"yes"}}}},{"target":"Service","json":[{"op":"add","path":"/spec/loadBalancerIP","value":"192.0.2.1"},{"op":"copy","from":"/spec/loadBalancerIP","path":"/metadata/labels/copied"}]}]`,
		}},
	}
	sidecarFields = []field{
		{"mesh.dataPlane", []string{`"Sidecar"`}},
		{"mesh.mtls.mode", []string{`"Strict"`, `"Permissive"`}},
		{"mesh.authentication", []string{
			`{"jwtRules":[{"issuer":"https://accounts.example.com"}]}`,
			`{"mode":"Optional","jwtRules":[{"issuer":"https://a.example.com"},{"issuer":"https://b.example.com","audiences":["web"]}]}`,
			`{"mode":"Required","jwtRules":[{"issuer":"https://b.example.com"}]}`,
		}},
		{"mesh.egress", []string{
			`{"outbound":"RegistryOnly"}`,
			`{"outbound":"AllowAny","hosts":["./*","other/*"]}`,
			`{"services":[{"name":"pay","hosts":["api.example.com"],"ports":[{"number":443,"protocol":"TLS"}],"resolution":"DNS"}]}`,
			`{"outbound":"RegistryOnly","services":[{"name":"a","hosts":["a.example.com"],"ports":[{"number":80,"protocol":"HTTP"}],"resolution":"DNS"},{"name":"b","hosts":["b.example.com"],"ports":[{"number":443,"protocol":"TLS"}],"resolution":"DNS"}]}`,
		}},
		{"mesh.identity", []string{`{"serviceAccountName":"db"}`, `{"serviceAccountName":"default"}`}},
		{"mesh.telemetry", []string{
			`{"accessLogging":[{"providers":[{"name":"envoy"}],"filter":{"expression":"response.code >= 400"}}]}`,
			`{"accessLogging":[{"disabled":true}],"tracing":[{"randomSamplingPercentage":5,"customTags":{"team":{"literal":{"value":"a"}}}}]}`,
			`{"tracing":[{"disableSpanReporting":true}],"metrics":[{"providers":[{"name":"prometheus"}],"overrides":[{"match":{"metric":"REQUEST_COUNT","mode":"SERVER"},"tagOverrides":{"request_host":{"operation":"REMOVE"}}}]}]}`,
		}},
		{"mesh.routes", []string{
			`{"http":[{"match":[{"headers":{"x-test":{"exact":"1"}}}],"fault":{"abort":{"httpStatus":503,"percentage":{"value":100}}}}]}`,
			`{"http":[{"match":[{"uri":{"prefix":"/old"}}],"redirect":{"uri":"/new"}},{"timeout":"3s"}]}`,
			`{"hosts":["shop.example.com"],"gateways":["public"],"http":[{"match":[{"uri":{"prefix":"/a"}}]}]}`,
		}},
		{"mesh.authorization", []string{
			`[{"name":"no-delete","action":"Deny","rules":[{"to":[{"operation":{"methods":["DELETE"]}}]}]}]`,
			`[{"name":"read","action":"Allow","rules":[{"to":[{"operation":{"methods":["GET"]}}]}]},{"name":"no-delete","action":"Deny","rules":[{"from":[{"source":{"namespaces":["x"]}}]}]}]`,
			`[{"name":"all","action":"Allow","rules":[{}]}]`,
		}},
		{"mesh.authentication", []string{
			`{"jwtRules":[{"issuer":"https://example.com"}]}`,
			`{"mode":"Optional","jwtRules":[{"issuer":"https://example.com","jwksUri":"https://example.com/keys","forwardOriginalToken":true}]}`,
			`{"mode":"Required","jwtRules":[{"issuer":"https://example.com","audiences":["web"]},{"issuer":"https://example.org"}]}`,
		}},
	}
	ambientFields = []field{
		{"mesh.dataPlane", []string{`"Ambient"`}},
		{"mesh.mtls.mode", []string{`"Strict"`, `"Permissive"`}},
		{"mesh.authorization", []string{`[{"name":"one","action":"Deny","rules":[{"from":[{"source":{"namespaces":["x"]}}]}]}]`}},
		{"mesh.waypoint", []string{`{"name":"waypoint"}`, `{"name":"waypoint","namespace":"mesh"}`}},
	}
)

// portLists are values of spec.ports. Each contains the port http.
var (
	portLists = []string{
		`[{"name":"http","port":80,"targetPort":8080,"appProtocol":"http"}]`,
		`[{"name":"http","port":80,"targetPort":8080,"timeout":"5s"},{"name":"ssh","port":22,"via":"Direct"}]`,
		`[{"name":"http","port":80,"targetPort":8080,"retries":{"attempts":2,"retryOn":"connect-failure"}},{"name":"raw","port":9000}]`,
		`[{"name":"http","port":81,"mtls":"Permissive","retries":{"attempts":0}},{"name":"raw","port":9000,"mtls":"Strict"},{"name":"dns","port":53,"protocol":"UDP"}]`,
		`[{"name":"http","port":80,"appProtocol":"http2","timeout":"1m"},{"name":"tls","port":443,"appProtocol":"tls"}]`,
	}
	limitedPortLists = slices.Concat(portLists, []string{
		`[{"name":"http","port":80,"maxConnections":10,"rateLimit":{"requests":5,"per":"Minute","rules":[{"name":"login","match":{"pathPrefix":"/login"},"requests":1,"per":"Second"}]}}]`,
		`[{"name":"http","port":80,"rateLimit":{"requests":7,"per":"Second","burst":9}},{"name":"raw","port":9000,"maxConnections":3}]`,
	})
	// routedPorts are the ports of specs with routes of each kind.
	routedPorts = `[{"name":"http","port":80,"targetPort":8080},{"name":"raw","port":9000},{"name":"tls","port":443,"appProtocol":"tls"}]`

	headlessPortLists = []string{
		`[{"name":"http","port":8080,"appProtocol":"http"}]`,
		`[{"name":"http","port":8080,"timeout":"5s"},{"name":"raw","port":9000}]`,
	}
)

// runStrategies are set in all specs: the operator keeps the run strategy of a
// VirtualMachine whose spec does not set one.
var runStrategies = []string{`"Always"`, `"Manual"`, `"RerunOnFailure"`}

// specFamily is a set of specs of which each can be changed to each other.
type specFamily struct {
	name string
	// base is set in all specs. NAME is the name of the object.
	base   map[string]string
	ports  []string
	fields []field
}

var specFamilies = []specFamily{
	{"sidecar", nil, limitedPortLists, slices.Concat(commonFields, sidecarFields)},
	{"ambient", map[string]string{"mesh.dataPlane": `"Ambient"`}, portLists, slices.Concat(commonFields, ambientFields)},
	{"headless", map[string]string{"service.type": `"Headless"`}, headlessPortLists, slices.Concat(commonFields, sidecarFields)},
	{"balanced", nil, portLists, slices.Concat(commonFields, []field{
		{"service.type", []string{`"LoadBalancer"`, `"NodePort"`, `"ClusterIP"`}},
	})},
	{"named Service", map[string]string{"service.name": `"NAME-service"`}, portLists, slices.Concat(commonFields, []field{
		{"service.trafficPercent", []string{`10`, `100`}},
		{"service.whenUnready", []string{`"Keep"`, `"Shift"`}},
	})},
	{"routes", nil, []string{routedPorts}, slices.Concat(commonFields, []field{
		{"mesh.routes", []string{
			`{"tcp":[{"match":[{"port":9000,"sourceLabels":{"app":"client"}}],"route":[{"destination":{"host":"other"}}]}]}`,
			`{"hosts":["shop.example.com"],"gateways":["public"],"tls":[{"match":[{"port":443,"sniHosts":["shop.example.com"]}]}]}`,
			`{"http":[{"timeout":"1s"}],"tcp":[{"match":[{"port":9000}],"route":[{"destination":{"host":"another"}}]}]}`,
		}},
	})},
	{"load balancer", map[string]string{"service.type": `"LoadBalancer"`, "service.loadBalancerClass": `"example.com/a"`}, portLists, slices.Concat(commonFields, []field{
		{"service.externalTrafficPolicy", []string{`"Local"`, `"Cluster"`}},
		{"service.loadBalancerSourceRanges", []string{`["192.0.2.0/24"]`, `["198.51.100.0/24","203.0.113.0/24"]`}},
	})},
}

// setting is a value of a field.
type setting struct{ path, value string }

func (v setting) String() string { return v.path + " = " + v.value }

// set writes the value into a spec.
func (v setting) set(spec map[string]any) {
	var value any
	if err := json.Unmarshal([]byte(v.value), &value); err != nil {
		panic(fmt.Sprintf("%s: %v", v, err))
	}
	if err := unstructured.SetNestedField(spec, runtimeCopy(value), strings.Split(v.path, ".")...); err != nil {
		panic(fmt.Sprintf("%s: %v", v, err))
	}
}

// badSpecs are settings with which no spec of a family is accepted: the API server
// refuses some, and the operator does not accept the others.
var badSpecs = []setting{
	{"version", `"Not_A_Label"`},
	{"ports", `[{"name":"http","port":80},{"name":"again","port":80}]`},
	{"mesh.exportTo", `["*","a"]`},
	{"mesh.trafficPolicy", `{"loadBalancer":{"simple":"FASTEST"}}`},
	{"virtualMachine.template.spec.domain.devices.interfaces", `[{"name":"default","bridge":{}}]`},
	{"capture.outbound.excludeCIDRs", `["192.0.2.1/24"]`},
	{"virtualMachine.template.spec.domain.devices.interfaces", `[{"name":"default","masquerade":{},"state":"absent"}]`},
	{"virtualMachine.template.spec.networks", `[{"name":"default","multus":{"networkName":"a"}}]`},
}

// spec returns a random spec of the family for an object.
func (f specFamily) spec(r *rand.Rand, name string) map[string]any {
	spec := map[string]any{}
	setting{"virtualMachine.template.spec.domain", `{"devices":{},"memory":{"guest":"256Mi"}}`}.set(spec)
	setting{"virtualMachine.runStrategy", runStrategies[r.IntN(len(runStrategies))]}.set(spec)
	setting{"ports", f.ports[r.IntN(len(f.ports))]}.set(spec)
	for _, c := range f.fields {
		if i := r.IntN(2 * len(c.values)); i < len(c.values) {
			setting{c.path, c.values[i]}.set(spec)
		}
	}
	for path, value := range f.base {
		setting{path, strings.ReplaceAll(value, "NAME", name)}.set(spec)
	}
	return spec
}

// runtimeCopy returns a deep copy with the number types that the API machinery uses.
func runtimeCopy(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[k] = runtimeCopy(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = runtimeCopy(e)
		}
		return out
	case float64:
		return int64(v)
	default:
		return runtime.DeepCopyJSONValue(v)
	}
}

// notInSequences are fields of the spec that the sequences do not change, with the reason.
var notInSequences = map[string]string{
	"existingVirtualMachine.name":   "it is immutable, and the VirtualMachine is not a child",
	"deletionPolicy":                "it has an effect only when an object is deleted",
	"ports[].nodePort":              "the API server allocates it, and two objects cannot have the same",
	"capture.inbound.excludePorts":  "it changes only the rules of pods, which the sequences do not have",
	"capture.outbound.excludePorts": "it changes only the rules of pods, which the sequences do not have",
	"capture.outbound.includeCIDRs": "it changes only the rules of pods, which the sequences do not have",
	"capture.dns":                   "it changes only the rules of pods, which the sequences do not have",
	"capture.unmeshed":              "it changes only the rules of pods, which the sequences do not have",
}

// TestSpecSequencesHaveAllFields checks that the sequences change every field of the spec.
func TestSpecSequencesHaveAllFields(t *testing.T) {
	used := map[string]bool{"virtualMachine.runStrategy": true}
	for _, f := range specFamilies {
		for path, value := range f.base {
			setPaths(t, path, value, used)
		}
		for _, c := range f.fields {
			for _, value := range c.values {
				setPaths(t, c.path, value, used)
			}
		}
		for _, ports := range f.ports {
			setPaths(t, "ports", ports, used)
		}
	}
	all := map[string]bool{}
	specPaths(reflect.TypeFor[v1alpha1.MeshedVirtualMachineSpec](), "", all)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		covered := used[path] || notInSequences[path] != "" || slices.ContainsFunc(slices.Collect(maps.Keys(used)), func(u string) bool { return strings.HasPrefix(u, path+".") })
		if !covered {
			t.Errorf("spec.%s is in no sequence: add values to commonFields or to a family, or a reason to notInSequences", path)
		}
	}
	for path := range notInSequences {
		if !all[path] || used[path] {
			t.Errorf("notInSequences contains spec.%s, which does not exist or is in a sequence", path)
		}
	}
}

// setPaths collects the paths of the fields that a value sets. The path of a field of an
// entry of a list contains [].
func setPaths(t *testing.T, path, value string, out map[string]bool) {
	t.Helper()
	var parsed any
	if err := json.Unmarshal([]byte(value), &parsed); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	var walk func(path string, v any)
	walk = func(path string, v any) {
		out[path] = true
		switch v := v.(type) {
		case map[string]any:
			for k, e := range v {
				walk(path+"."+k, e)
			}
		case []any:
			for _, e := range v {
				walk(path+"[]", e)
			}
		}
	}
	walk(path, parsed)
}

// specPaths collects the paths of the fields of this project's types. A field of a type of
// another project is one path, and so is a list.
func specPaths(t reflect.Type, prefix string, out map[string]bool) {
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		path, typ := prefix+name, f.Type
		if typ.Kind() == reflect.Pointer {
			typ = typ.Elem()
		}
		switch own := strings.HasPrefix(typ.PkgPath(), "meshvm.io/"); {
		case typ == reflect.TypeFor[[]v1alpha1.Port]():
			specPaths(typ.Elem(), path+"[].", out)
		case own && typ.Kind() == reflect.Struct:
			specPaths(typ, path+".", out)
		default:
			out[path] = true
		}
	}
}
