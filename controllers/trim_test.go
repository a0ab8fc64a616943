// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
)

// TestTrim checks which fields of objects that the operator does not manage stay in the
// cache, and that objects of the operator keep their spec.
func TestTrim(t *testing.T) {
	for name, tc := range map[string]struct{ object, want string }{
		"VirtualMachine": {
			`{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: a}, spec: {running: true}, status: {ready: true}}`,
			`{apiVersion: kubevirt.io/v1, kind: VirtualMachine, metadata: {name: a}}`,
		},
		"VirtualMachineInstance that lost the operator's label": {
			`{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: a}, spec: {networks: [{name: default, pod: {vmNetworkCIDR: 10.11.0.0/24}}]}, status: {phase: Running}}`,
			`{apiVersion: kubevirt.io/v1, kind: VirtualMachineInstance, metadata: {name: a}, spec: {networks: [{name: default, pod: {vmNetworkCIDR: 10.11.0.0/24}}]}, status: {phase: Running}}`,
		},
		"AuthorizationPolicy": {
			`{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: a}, spec: {rules: [{}]}, status: {conditions: []}}`,
			`{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: a}, spec: {rules: [{}]}}`,
		},
		"Telemetry": {
			`{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: a}, spec: {selector: {matchLabels: {app: web}}, targetRefs: [{kind: Service, name: a}], tracing: [{}]}, status: {conditions: []}}`,
			`{apiVersion: telemetry.istio.io/v1, kind: Telemetry, metadata: {name: a}, spec: {selector: {matchLabels: {app: web}}, tracing: [{}]}}`,
		},
		"VirtualService": {
			`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [web]
  exportTo: ["."]
  gateways: [mesh]
  http: [{name: x, match: [{port: 80, uri: {prefix: /a}, sourceLabels: {app: b}}], route: [{destination: {host: c}}]}, {fault: {}}]
  tcp: [{match: [{port: 81, destinationSubnets: [10.0.0.0/8]}], route: []}]
  tls: [{match: [{port: 443, sniHosts: [web]}], route: []}]`,
			`
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [web]
  exportTo: ["."]
  gateways: [mesh]
  http: [{match: [{port: 80, sourceLabels: {app: b}}]}, {}]
  tcp: [{match: [{port: 81, destinationSubnets: [10.0.0.0/8]}]}]
  tls: [{match: [{port: 443, sniHosts: [web]}]}]`,
		},
		"Sidecar": {
			`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a}, spec: {workloadSelector: {labels: {app: web}}, egress: [{hosts: ["./*"]}]}}`,
			`{apiVersion: networking.istio.io/v1, kind: Sidecar, metadata: {name: a}, spec: {workloadSelector: {labels: {app: web}}}}`,
		},
		"ServiceEntry": {
			`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a}, spec: {hosts: [web], ports: [{number: 80}], resolution: STATIC, endpoints: [{address: 192.0.2.1}]}}`,
			`{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {name: a}, spec: {hosts: [web], resolution: STATIC, endpoints: [{}]}}`,
		},
		"Gateway": {
			`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: a}
spec:
  selector: {istio: ingress}
  servers:
  - {name: x, hosts: [shop/a.example.com], port: {number: 443, name: https, protocol: HTTPS}, tls: {mode: SIMPLE, credentialName: c}}
  - {hosts: ["*"], port: {number: 444, name: tls, protocol: TLS}, tls: {minProtocolVersion: TLSV1_2}}`,
			`
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: a}
spec:
  servers:
  - {hosts: [shop/a.example.com], port: {protocol: HTTPS}, tls: {mode: SIMPLE}}
  - {hosts: ["*"], port: {protocol: TLS}, tls: {}}`,
		},
		"DestinationRule": {
			`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: web
  exportTo: ["."]
  workloadSelector: {matchLabels: {app: b}}
  trafficPolicy:
    tls: {mode: SIMPLE, caCertificates: /etc/ca}
    connectionPool: {}
    portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE, sni: x}, loadBalancer: {}}]
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {connectionPool: {}}}]`,
			`
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: a}
spec:
  host: web
  exportTo: ["."]
  workloadSelector: {matchLabels: {app: b}}
  trafficPolicy:
    tls: {mode: SIMPLE}
    portLevelSettings: [{port: {number: 80}, tls: {mode: DISABLE}}]
  subsets: [{name: v1, labels: {version: v1}, trafficPolicy: {}}]`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			var object, want map[string]any
			if err := yaml.Unmarshal([]byte(tc.object), &object); err != nil {
				t.Fatal(err)
			}
			if err := yaml.Unmarshal([]byte(tc.want), &want); err != nil {
				t.Fatal(err)
			}
			u := &unstructured.Unstructured{Object: object}
			own := u.DeepCopy()
			own.SetLabels(map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue})
			kept := own.DeepCopy()
			if _, err := trim(u); err != nil {
				t.Fatal(err)
			}
			if !equality.Semantic.DeepEqual(u.Object, want) {
				t.Errorf("the cache contains %v, want %v", u.Object, want)
			}
			if _, err := trim(own); err != nil {
				t.Fatal(err)
			}
			if !equality.Semantic.DeepEqual(own, kept) {
				t.Errorf("an object of the operator was changed: %v", own.Object)
			}
		})
	}
}
