// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/e2e/suite"
)

// plaintextFilter adds a filter chain to the listener of the guest's proxy that accepts
// plain text, while every policy requires mutual TLS.
const plaintextFilter = `
apiVersion: networking.istio.io/v1alpha3
kind: EnvoyFilter
metadata: {name: plaintext, namespace: %s}
spec:
  workloadSelector: {labels: {meshvm.io/meshed-virtual-machine: one}}
  configPatches:
  - applyTo: FILTER_CHAIN
    match: {context: SIDECAR_INBOUND, listener: {name: virtualInbound}}
    patch:
      operation: ADD
      value:
        name: plaintext
        filter_chain_match: {destination_port: 8080, transport_protocol: raw_buffer}
        filters:
        - name: envoy.filters.network.tcp_proxy
          typed_config:
            "@type": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy
            stat_prefix: plaintext
            cluster: inbound|8080||
`

// proxyState reads the proxy of a guest, and then weakens it with an EnvoyFilter that no
// policy shows. The next audit, which an added port starts, must find the weaker mode.
func proxyState(t *suite.T) {
	ms := t.Machines("proxystate", suite.Machine{Name: "one"})
	ms.NeedsEnvoy(t)
	ctx := t.Limit(6 * time.Minute)
	begin := time.Now()
	plain := func() bool {
		out, err := ms.From(ctx, ms.Clients.Outside, "get", "http://"+ms.Pods["one"].Status.PodIP+":8080/")
		return err == nil && strings.Contains(out, "hello from guest one")
	}
	awaitMode := func(mode v1alpha1.MTLSMode) {
		t.Await(ctx, fmt.Sprintf("the mode %s of the proxy", mode), func() bool {
			m, err := ms.Machine(ctx, ms.Key("one"))
			return err == nil && m.Status.MTLS.EffectiveMode == mode && m.Status.MTLS.Source == v1alpha1.MTLSSourceProxy
		})
		t.Logf("status.mtls: %s by the proxy after %.1f s", mode, time.Since(begin).Seconds())
	}
	state := func() v1alpha1.ProxyStatus {
		var nat v1alpha1.PodNATConfiguration
		b, err := json.Marshal(ms.NATObjects(ctx, t)[0].Object)
		t.NoError(err)
		t.NoError(json.Unmarshal(b, &nat))
		t.Logf("status.proxy: %+v", nat.Status.Proxy)
		return nat.Status.Proxy
	}

	awaitMode(v1alpha1.MTLSModeStrict)
	if p := state(); p.State != v1alpha1.ProxyPhaseLive || !strings.HasSuffix(p.Identity, "/ns/"+ms.SampleNamespace()+"/sa/default") || len(p.Inbound) != 2 {
		t.Errorf("unexpected state of the proxy")
	}
	if plain() {
		t.Error("the proxy accepts plain text although it runs Strict")
	}

	filter := fmt.Appendf(nil, plaintextFilter, ms.SampleNamespace())
	t.NoError(ms.ApplyManifest(ctx, filter))
	t.Await(ctx, "the proxy to accept plain text", plain)
	begin = time.Now()
	port := client.RawPatch(types.JSONPatchType, []byte(`[{"op":"add","path":"/spec/ports/-","value":{"name":"more","port":9200,"appProtocol":"tcp"}}]`))
	t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), port))
	awaitMode(v1alpha1.MTLSModePermissive)
	state()
	if !plain() {
		t.Error("the proxy refuses plain text although it runs Permissive")
	}
	m, err := ms.Machine(ctx, ms.Key("one"))
	t.NoError(err)
	if c := apimeta.FindStatusCondition(m.Status.Conditions, string(v1alpha1.ConditionMeshPolicyApplied)); c.Reason != string(v1alpha1.ReasonProxyDiffers) {
		t.Errorf("MeshPolicyApplied is %s (%s: %s) while plain text is answered", c.Status, c.Reason, c.Message)
	}

	objects, err := kube.Decode(filter)
	t.NoError(err)
	t.NoError(ms.DeleteObjects(ctx, objects))
	t.Await(ctx, "the proxy to refuse plain text", func() bool { return !plain() })
	begin = time.Now()
	awaitMode(v1alpha1.MTLSModeStrict)
	ms.AwaitReady(ctx, t, "one")
}
