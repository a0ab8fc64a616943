// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// egress closes all destinations of a running machine except one port of a server outside
// of the mesh, and opens them again. The guest does not restart.
func egress(t *suite.T) {
	ms := t.Machines("egress", suite.Machine{Name: "one"})
	ctx := t.Limit(6 * time.Minute)
	pod, server := ms.Pods["one"], ms.Clients.Outside.Status.PodIP
	address, err := netip.ParseAddr(server)
	t.NoError(err)
	edit := func(mesh string) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"mesh":`+mesh+`}}`))
		t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), patch))
	}
	// connects reports whether the server answers the guest.
	connects := func(port string) bool {
		var d scenario.Dialled
		ms.AskGuest(ctx, t, "one", "dial?"+url.Values{"addr": {net.JoinHostPort(server, port)}}.Encode(), &d)
		return strings.Contains(d.Answer, "netclient:")
	}
	const open, closed = "9999", "7000"
	t.Await(ctx, "connections of the guest without a limit", func() bool { return connects(open) && connects(closed) })

	edit(fmt.Sprintf(`{"egress":{"outbound":"RegistryOnly","services":[{"name":"server","hosts":["server.example.com"],"addresses":["%s"],"ports":[{"number":%s,"protocol":"TCP"}],"resolution":"None"}]}}`,
		netip.PrefixFrom(address, address.BitLen()), open))
	t.Await(ctx, "the proxy to close an unknown destination", func() bool {
		for range 3 { // One failed attempt can have another cause.
			if connects(closed) {
				return false
			}
		}
		return true
	})
	t.Await(ctx, "the proxy to open the declared destination", func() bool { return connects(open) })
	for range 5 {
		if !connects(open) {
			t.Errorf("the declared destination %s:%s is closed", server, open)
		}
		if connects(closed) {
			t.Errorf("the destination %s:%s is open", server, closed)
		}
	}

	bad := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"mesh":{"routes":{"http":[{"route":[{"destination":{"host":"web.other"}}]}]}}}}`))
	if err := ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), bad); err == nil || !strings.Contains(err.Error(), "spec.mesh.routes.http[0].route[0].destination.host") {
		t.Errorf("a route to another namespace: the response is %v, want a rejection by the webhook", err)
	}

	edit("null")
	t.Await(ctx, "connections of the guest after the limit was removed", func() bool { return connects(closed) })
	for kind, name := range map[string]string{"Sidecar": "one", "ServiceEntry": "one.server"} {
		o := &unstructured.Unstructured{}
		o.SetAPIVersion("networking.istio.io/v1")
		o.SetKind(kind)
		t.Await(ctx, kind+" "+name+" to be deleted", func() bool { return apierrors.IsNotFound(ms.Get(ctx, ms.Key(name), o)) })
	}
	ms.AwaitReady(ctx, t, "one")
	if ms.Pods["one"].UID != pod.UID {
		t.Errorf("the pod was replaced")
	}
}
