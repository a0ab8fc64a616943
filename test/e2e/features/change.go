// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/programs/flow"
	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// exclude changes the ports that guest "one" reaches without its proxy, and the
// treatment of established connections.
func exclude(ctx context.Context, t *suite.T, ms *suite.Machines, ports, onChange string) {
	t.Helper()
	raw := `{"spec":{"capture":{"onChange":"` + onChange + `","outbound":{"excludePorts":` + ports + `}}}}`
	if ports == "" {
		raw = `{"spec":{"capture":{"onChange":"` + onChange + `","outbound":null}}}`
	}
	m := suite.Object("MeshedVirtualMachine", ms.Key("one"))
	t.NoError(ms.Patch(ctx, m, client.RawPatch(types.MergePatchType, []byte(raw))))
}

// throughProxy reports whether a new connection of guest "one" to a port of the
// client outside the mesh passes the guest's proxy.
func throughProxy(ctx context.Context, t *suite.T, ms *suite.Machines, port string) bool {
	t.Helper()
	before, err := ms.Taken(ctx, ms.Pods["one"], scenario.Outbound)
	t.NoError(err)
	var d scenario.Dialled
	address := net.JoinHostPort(ms.Clients.Outside.Status.PodIP, port)
	ms.AskGuest(ctx, t, "one", "dial?"+url.Values{"addr": {address}}.Encode(), &d)
	if d.Answer == "" {
		t.Fatalf("guest one's connection to %s: %+v", address, d)
	}
	after, err := ms.Taken(ctx, ms.Pods["one"], scenario.Outbound)
	t.NoError(err)
	return after > before
}

// awaitPath waits until new connections to a port pass or bypass the proxy.
func awaitPath(ctx context.Context, t *suite.T, ms *suite.Machines, port string, through bool) {
	t.Helper()
	t.Await(ctx, fmt.Sprintf("connections to port %s to pass the proxy: %t", port, through), func() bool {
		return throughProxy(ctx, t, ms, port) == through
	})
}

// guestFlow starts a long connection of a guest (path "hold"), or reads its report
// (path "held").
func guestFlow(ctx context.Context, t *suite.T, ms *suite.Machines, guest, path string, q url.Values) flow.Report {
	t.Helper()
	var r flow.Report
	ms.AskGuest(ctx, t, guest, path+"?"+q.Encode(), &r)
	return r
}

// change edits the excluded ports of a running machine. New connections must use
// the new path within seconds, in the same pod and the same virtual machine. An
// established connection must remain with Keep and be reset with Reset.
func change(t *suite.T) {
	ms := t.Machines("change", suite.Machine{Name: "one"})
	ctx := t.Limit(8 * time.Minute)
	instance := ms.InstanceUID(ctx, t, "one")
	pod := ms.Pods["one"]
	address := net.JoinHostPort(ms.Clients.Outside.Status.PodIP, "7100")
	exclude(ctx, t, ms, "", "Keep")
	ms.AwaitReady(ctx, t, "one")
	for _, tc := range []struct {
		onChange string
		remains  bool
	}{{"Keep", true}, {"Reset", false}} {
		name := url.Values{"name": {tc.onChange}, "addr": {address}}
		if r := guestFlow(ctx, t, ms, "one", "hold", name); r.Error != "" {
			t.Fatalf("guest one's connection to %s: %+v", address, r)
		}
		begin := time.Now()
		exclude(ctx, t, ms, `[{"port":7000},{"port":7100}]`, tc.onChange)
		awaitPath(ctx, t, ms, "7000", false)
		took := time.Since(begin)
		ms.AwaitReady(ctx, t, "one")
		report := settledFlow(ctx, t, ms, name)
		t.Logf("%s: %.1f s from the edit to the first new connection that bypassed the proxy; the established connection: %+v", tc.onChange, took.Seconds(), report)
		if remains := report.Error == ""; remains != tc.remains {
			t.Errorf("%s: the established connection remains: %t, want %t (%+v)", tc.onChange, remains, tc.remains, report)
		}
		begin = time.Now()
		exclude(ctx, t, ms, "", "Keep")
		awaitPath(ctx, t, ms, "7000", true)
		t.Logf("%.1f s from the reverse edit to the first new connection through the proxy", time.Since(begin).Seconds())
		ms.AwaitReady(ctx, t, "one")
	}
	if again := ms.AwaitReady(ctx, t, "one"); again.UID != pod.UID {
		t.Errorf("the machine has the pod %s, before the edits %s", again.Name, pod.Name)
	}
	if now := ms.InstanceUID(ctx, t, "one"); now != instance {
		t.Errorf("the VirtualMachineInstance has the UID %s, before the edits %s", now, instance)
	}
}

// settledFlow reads the report of a guest's connection until it has ended or has
// got ten more answers.
func settledFlow(ctx context.Context, t *suite.T, ms *suite.Machines, name url.Values) flow.Report {
	t.Helper()
	first := guestFlow(ctx, t, ms, "one", "held", name)
	var r flow.Report
	t.Await(ctx, "the connection to end or to get ten more answers", func() bool {
		r = guestFlow(ctx, t, ms, "one", "held", name)
		return r.Error != "" || r.Answered >= first.Answered+10
	})
	return r
}
