// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"net"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/e2e/suite"
)

// ingress is a gateway of Istio, as its documentation deploys one (Istio, "Installing
// Gateways"). No other namespace has pods with its label, which Gateways select in all namespaces.
const ingress = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: ingress}
spec:
  selector: {matchLabels: {istio: e2e-ingress}}
  template:
    metadata:
      annotations: {inject.istio.io/templates: gateway}
      labels: {istio: e2e-ingress, sidecar.istio.io/inject: "true"}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: istio-proxy, image: auto, imagePullPolicy: IfNotPresent}]
`

// publicGateway is a Gateway that permits one host.
const publicGateway = `
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: public}
spec:
  selector: {istio: e2e-ingress}
  servers: [{port: {number: 8080, name: http, protocol: HTTP}, hosts: [shop.example.com]}]
`

// gateway publishes machine one at a gateway, whose Gateway does not exist at first. A client outside of the mesh gets the responses
// of the guest for the host, and 404 for another host and after the host was removed.
func gateway(t *suite.T, ms *suite.Machines) {
	ctx := t.Limit(4 * time.Minute)
	t.NoError(ms.ApplyMachines(ctx, []byte(ingress)))
	editMesh(ctx, t, ms, `{"routes":{"hosts":["shop.example.com"],"gateways":["public"]}}`)
	missing := awaitCondition(ctx, t, ms, "one", v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonGatewayNotFound)
	t.Log(missing)
	t.NoError(ms.ApplyMachines(ctx, []byte(publicGateway)))
	awaitCondition(ctx, t, ms, "one", v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady)
	var address string
	t.Await(ctx, "the pod of the gateway", func() bool {
		var pods corev1.PodList
		t.NoError(ms.List(ctx, &pods, client.InNamespace(ms.SampleNamespace()), client.MatchingLabels{"istio": "e2e-ingress"}))
		for i := range pods.Items {
			address = pods.Items[i].Status.PodIP
		}
		return address != ""
	})
	get := func(host string) string {
		out, err := ms.From(ctx, ms.Clients.Outside, "status", "http://"+net.JoinHostPort(address, "8080")+"/", "Host: "+host)
		if err != nil {
			return "error: " + err.Error()
		}
		return out
	}
	published := func() bool { return strings.HasPrefix(get("shop.example.com"), "200 hello from guest one:") }
	t.Await(ctx, "a response of the guest through the gateway", published)
	t.Logf("shop.example.com: %s", get("shop.example.com"))
	if out := get("other.example.com"); !strings.HasPrefix(out, "404") {
		t.Errorf("a host that the gateway does not have: %s", out)
	}
	editMesh(ctx, t, ms, "null")
	t.Await(ctx, "the gateway to remove the host", func() bool { return strings.HasPrefix(get("shop.example.com"), "404") })
}
