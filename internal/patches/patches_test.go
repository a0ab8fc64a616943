// SPDX-License-Identifier: Apache-2.0

package patches

import (
	"errors"
	"strings"
	"testing"

	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/json"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
)

const fqdn = "web.shop.svc.cluster.local"

func meta(kind, version string) (metav1.TypeMeta, metav1.ObjectMeta) {
	return metav1.TypeMeta{APIVersion: version, Kind: kind}, metav1.ObjectMeta{
		Name: "web", Namespace: "shop", Labels: map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelService: "web"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: "meshvm.io/v1alpha1", Kind: "MeshedVirtualMachine", Name: "web", UID: "1"}},
	}
}

func service() Object {
	t, m := meta("Service", "v1")
	return &corev1.Service{TypeMeta: t, ObjectMeta: m, Spec: corev1.ServiceSpec{
		Selector: map[string]string{v1alpha1.LabelService: "web"}, Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Name: "http", Port: 80}},
	}}
}

func virtualService() Object {
	t, m := meta("VirtualService", "networking.istio.io/v1")
	vs := &networkingv1.VirtualService{TypeMeta: t, ObjectMeta: m}
	vs.Spec.Hosts = []string{fqdn}
	vs.Spec.Http = []*networkingv1alpha3.HTTPRoute{{Route: []*networkingv1alpha3.HTTPRouteDestination{{Destination: &networkingv1alpha3.Destination{Host: fqdn}}}}}
	return vs
}

func rule() Object {
	t, m := meta("DestinationRule", "networking.istio.io/v1")
	dr := &networkingv1.DestinationRule{TypeMeta: t, ObjectMeta: m}
	dr.Spec.Host = fqdn
	dr.Spec.Subsets = []*networkingv1alpha3.Subset{{Name: "v1", Labels: map[string]string{"version": "v1"}}}
	return dr
}

func authentication() Object {
	t, m := meta("PeerAuthentication", "security.istio.io/v1")
	pa := &securityv1.PeerAuthentication{TypeMeta: t, ObjectMeta: m}
	pa.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{v1alpha1.LabelMeshedVirtualMachine: "web"}}
	pa.Spec.Mtls = &securityv1beta1.PeerAuthentication_MutualTLS{Mode: securityv1beta1.PeerAuthentication_MutualTLS_STRICT}
	pa.Spec.PortLevelMtls = map[uint32]*securityv1beta1.PeerAuthentication_MutualTLS{22: {Mode: securityv1beta1.PeerAuthentication_MutualTLS_DISABLE}}
	return pa
}

func decode(t *testing.T, text string) []v1alpha1.Patch {
	t.Helper()
	var out []v1alpha1.Patch
	if err := yaml.UnmarshalStrict([]byte(text), &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestApply(t *testing.T) {
	tests := map[string]struct {
		object Object
		patch  string
		// want is a part of the patched object as JSON, or the beginning of the refusal.
		want, refused string
	}{
		"annotation":         {service(), `[{target: Service, merge: {metadata: {annotations: {a: b}}}}]`, `"annotations":{"a":"b"}`, ""},
		"field of a service": {service(), `[{target: Service, json: [{op: add, path: /spec/sessionAffinity, value: ClientIP}]}]`, `"sessionAffinity":"ClientIP"`, ""},
		"two patches":        {service(), `[{target: Service, merge: {metadata: {labels: {a: b}}}}, {target: Service, json: [{op: add, path: /metadata/labels/c, value: d}]}]`, `"labels":{"a":"b","app.kubernetes.io/managed-by":"meshvm","c":"d","meshvm.io/service":"web"}`, ""},
		"another kind":       {service(), `[{target: VirtualService, merge: {spec: {hosts: [x]}}}]`, `"name":"web"`, ""},
		"cors":               {virtualService(), `[{target: VirtualService, json: [{op: add, path: /spec/http/0/corsPolicy, value: {allowOrigins: [{exact: "https://a.example"}]}}]}]`, `"corsPolicy":{"allowOrigins":[{"exact":"https://a.example"}]}`, ""},
		"own destination":    {virtualService(), `[{target: VirtualService, json: [{op: add, path: /spec/http/0/mirror, value: {host: copy.shop.svc.cluster.local}}]}]`, `"mirror":{"host":"copy.shop.svc.cluster.local"}`, ""},
		"mutual TLS":         {rule(), `[{target: DestinationRule, merge: {spec: {trafficPolicy: {tls: {mode: ISTIO_MUTUAL}}}}}]`, `"tls":{"mode":"ISTIO_MUTUAL"}`, ""},
		"policy of subset":   {rule(), `[{target: DestinationRule, json: [{op: add, path: /spec/subsets/0/trafficPolicy, value: {loadBalancer: {simple: RANDOM}}}]}]`, `"simple":"RANDOM"`, ""},
		"stricter port":      {authentication(), `[{target: PeerAuthentication, json: [{op: replace, path: /spec/portLevelMtls/22/mode, value: STRICT}]}]`, `"22":{"mode":"STRICT"}`, ""},

		"name":                      {service(), `[{target: Service, merge: {metadata: {name: other}}}]`, "", "spec.patches[0]: /metadata/name: a patch can change only"},
		"namespace":                 {service(), `[{target: Service, merge: {metadata: {namespace: other}}}]`, "", "spec.patches[0]: /metadata/namespace"},
		"owners":                    {service(), `[{target: Service, merge: {metadata: {ownerReferences: null}}}]`, "", "spec.patches[0]: /metadata/ownerReferences"},
		"finalizers":                {service(), `[{target: Service, merge: {metadata: {finalizers: [a/b]}}}]`, "", "spec.patches[0]: /metadata/finalizers"},
		"kind":                      {service(), `[{target: Service, merge: {kind: Secret}}]`, "", "spec.patches[0]: /kind"},
		"status":                    {service(), `[{target: Service, merge: {status: {loadBalancer: {ingress: [{ip: 192.0.2.1}]}}}}]`, "", "spec.patches[0]: /status"},
		"own label":                 {service(), `[{target: Service, merge: {metadata: {labels: {meshvm.io/service: other}}}}]`, "", "spec.patches[0]: /metadata/labels/meshvm.io~1service"},
		"all labels":                {service(), `[{target: Service, json: [{op: remove, path: /metadata/labels}]}]`, "", "spec.patches[0]: /metadata/labels/"},
		"label of Istio":            {service(), `[{target: Service, merge: {metadata: {labels: {istio.io/use-waypoint-namespace: other}}}}]`, "", "spec.patches[0]: /metadata/labels/istio.io~1use-waypoint-namespace"},
		"exportTo annotation":       {service(), `[{target: Service, merge: {metadata: {annotations: {networking.istio.io/exportTo: other}}}}]`, "", "spec.patches[0]: /metadata/annotations/networking.istio.io~1exportTo"},
		"label of a number":         {service(), `[{target: Service, merge: {metadata: {labels: {a: 1}}}}]`, "", "spec.patches[0]: /metadata/labels/a: must be a text"},
		"selector":                  {service(), `[{target: Service, merge: {spec: {selector: {app: other}}}}]`, "", "spec.patches[0]: /spec/selector"},
		"ports of a service":        {service(), `[{target: Service, merge: {spec: {ports: []}}}]`, "", "spec.patches[0]: /spec/ports"},
		"external addresses":        {service(), `[{target: Service, merge: {spec: {externalIPs: [192.0.2.1]}}}]`, "", "spec.patches[0]: /spec/externalIPs"},
		"external name":             {service(), `[{target: Service, merge: {spec: {type: ExternalName, externalName: a.example}}}]`, "", "spec.patches[0]: /spec/type"},
		"no spec":                   {service(), `[{target: Service, json: [{op: remove, path: /spec}]}]`, "", "spec.patches[0]: /spec: must be an object"},
		"second patch":              {service(), `[{target: VirtualService, merge: {}}, {target: Service, merge: {metadata: {name: other}}}]`, "", "spec.patches[1]: /metadata/name"},
		"missing path":              {service(), `[{target: Service, json: [{op: remove, path: /spec/unknown}]}]`, "", "spec.patches[0]: cannot be applied to Service web"},
		"failed test":               {service(), `[{target: Service, json: [{op: test, path: /spec/type, value: NodePort}]}]`, "", "spec.patches[0]: cannot be applied"},
		"hosts":                     {virtualService(), `[{target: VirtualService, merge: {spec: {hosts: [shop.example.com]}}}]`, "", "spec.patches[0]: /spec/hosts"},
		"gateways":                  {virtualService(), `[{target: VirtualService, merge: {spec: {gateways: [other/gw]}}}]`, "", "spec.patches[0]: /spec/gateways"},
		"gateways of a match":       {virtualService(), `[{target: VirtualService, json: [{op: add, path: /spec/http/0/match, value: [{gateways: [other/gw]}]}]}]`, "", "spec.patches[0]: /spec/http/0/match/0/gateways"},
		"export":                    {virtualService(), `[{target: VirtualService, merge: {spec: {exportTo: ["*"]}}}]`, "", "spec.patches[0]: /spec/exportTo"},
		"destination":               {virtualService(), `[{target: VirtualService, json: [{op: replace, path: /spec/http/0/route/0/destination/host, value: web.other.svc.cluster.local}]}]`, "", "spec.patches[0]: /spec/http/0/route/0/destination/host"},
		"destination outside":       {virtualService(), `[{target: VirtualService, json: [{op: replace, path: /spec/http/0/route/0/destination/host, value: example.com}]}]`, "", "spec.patches[0]: /spec/http/0/route/0/destination/host"},
		"mirror":                    {virtualService(), `[{target: VirtualService, json: [{op: add, path: /spec/http/0/mirrors, value: [{destination: {host: web.other}}]}]}]`, "", "spec.patches[0]: /spec/http/0/mirrors/0/destination/host"},
		"tcp destination":           {virtualService(), `[{target: VirtualService, merge: {spec: {tcp: [{route: [{destination: {host: web.other}}]}]}}}]`, "", "spec.patches[0]: /spec/tcp/0/route/0/destination/host"},
		"delegate":                  {virtualService(), `[{target: VirtualService, json: [{op: add, path: /spec/http/0/delegate, value: {name: a, namespace: other}}]}]`, "", "spec.patches[0]: /spec/http/0/delegate"},
		"Istio's validation":        {virtualService(), `[{target: VirtualService, json: [{op: add, path: /spec/http/0/fault, value: {abort: {httpStatus: 503, percentage: {value: 101}}}}]}]`, "", "spec.patches[0]: Istio rejects the patched VirtualService web"},
		"type of a field":           {virtualService(), `[{target: VirtualService, merge: {spec: {http: text}}}]`, "", "spec.patches[0]: Istio rejects the patched VirtualService web"},
		"host of a rule":            {rule(), `[{target: DestinationRule, merge: {spec: {host: "*.local"}}}]`, "", "spec.patches[0]: /spec/host"},
		"clients of a rule":         {rule(), `[{target: DestinationRule, merge: {spec: {workloadSelector: {matchLabels: {a: b}}}}}]`, "", "spec.patches[0]: /spec/workloadSelector"},
		"labels of a subset":        {rule(), `[{target: DestinationRule, json: [{op: replace, path: /spec/subsets/0/labels, value: {app: x}}]}]`, "", "spec.patches[0]: /spec/subsets"},
		"no mutual TLS":             {rule(), `[{target: DestinationRule, merge: {spec: {trafficPolicy: {tls: {mode: DISABLE}}}}}]`, "", "spec.patches[0]: /spec/trafficPolicy/tls"},
		"no mutual TLS of a subset": {rule(), `[{target: DestinationRule, json: [{op: add, path: /spec/subsets/0/trafficPolicy, value: {tls: {mode: SIMPLE}}}]}]`, "", "spec.patches[0]: /spec/subsets/0/trafficPolicy/tls"},
		"no mutual TLS of a port":   {rule(), `[{target: DestinationRule, merge: {spec: {trafficPolicy: {portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]}}}}]`, "", "spec.patches[0]: /spec/trafficPolicy/portLevelSettings/0/tls"},
		"tunnel":                    {rule(), `[{target: DestinationRule, merge: {spec: {trafficPolicy: {tunnel: {targetHost: a.example, targetPort: 1}}}}}]`, "", "spec.patches[0]: /spec/trafficPolicy/tunnel"},
		"selector of a policy":      {authentication(), `[{target: PeerAuthentication, merge: {spec: {selector: null}}}]`, "", "spec.patches[0]: /spec/selector"},
		"weaker mode":               {authentication(), `[{target: PeerAuthentication, merge: {spec: {mtls: {mode: PERMISSIVE}}}}]`, "", "spec.patches[0]: /spec/mtls/mode"},
		"inherited mode":            {authentication(), `[{target: PeerAuthentication, merge: {spec: {mtls: null}}}]`, "", "spec.patches[0]: /spec/mtls/mode"},
		"unset mode":                {authentication(), `[{target: PeerAuthentication, merge: {spec: {mtls: {mode: UNSET}}}}]`, "", "spec.patches[0]: /spec/mtls/mode"},
		"weaker port":               {authentication(), `[{target: PeerAuthentication, merge: {spec: {portLevelMtls: {"8080": {mode: DISABLE}}}}}]`, "", "spec.patches[0]: /spec/portLevelMtls/8080"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			before := tc.object.DeepCopyObject()
			got, err := Apply(decode(t, tc.patch), tc.object, v1alpha1.DefaultClusterDomain)
			var refused *Refused
			switch {
			case tc.refused != "" && (!errors.As(err, &refused) || !strings.HasPrefix(err.Error(), tc.refused)):
				t.Errorf("got %v, want %s", err, tc.refused)
			case tc.refused != "":
			case err != nil:
				t.Error(err)
			case !strings.Contains(text(t, got), tc.want):
				t.Errorf("the object does not contain %s:\n%s", tc.want, text(t, got))
			}
			if text(t, before) != text(t, tc.object) {
				t.Error("the desired object was changed")
			}
		})
	}
}

// TestParts checks that objects named NAME.PART have no patches.
func TestParts(t *testing.T) {
	vs := virtualService()
	vs.SetName("web.gateway")
	got, err := Apply(decode(t, `[{target: VirtualService, merge: {spec: {hosts: []}}}]`), vs, v1alpha1.DefaultClusterDomain)
	if err != nil || got != vs {
		t.Errorf("got %v, %v", got, err)
	}
}

func text(t *testing.T, o runtime.Object) string {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(content)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}
