// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/programs/flow"
)

// exclude edits the ports that guest "one" reaches bypassing the proxy, and what
// becomes of established connections.
func (p *pair) exclude(ctx context.Context, t *testing.T, ports, onChange string) {
	t.Helper()
	m := object("MeshedVirtualMachine", "one")
	m.SetNamespace(meshNamespace)
	raw := `{"spec":{"capture":{"onChange":"` + onChange + `","outbound":{"excludePorts":` + ports + `}}}}`
	if ports == "" {
		raw = `{"spec":{"capture":{"onChange":"` + onChange + `","outbound":null}}}`
	}
	if err := p.Patch(ctx, m, client.RawPatch(types.MergePatchType, []byte(raw))); err != nil {
		t.Fatal(err)
	}
}

// throughProxy shows whether a new connection of guest "one" to a port of the
// client outside goes through its proxy.
func (p *pair) throughProxy(ctx context.Context, t *testing.T, port string) bool {
	t.Helper()
	before, err := p.Taken(ctx, p.one, 15001)
	if err != nil {
		t.Fatal(err)
	}
	var d struct{ Answer, Error string }
	address := net.JoinHostPort(p.clients.Outside.Status.PodIP, port)
	p.askGuest(ctx, t, "one", "dial?"+url.Values{"addr": {address}}.Encode(), &d)
	if d.Answer == "" {
		t.Fatalf("guest one's connection to %s: %+v", address, d)
	}
	after, err := p.Taken(ctx, p.one, 15001)
	if err != nil {
		t.Fatal(err)
	}
	return after > before
}

// until waits for throughProxy to change.
func (p *pair) until(ctx context.Context, t *testing.T, port string, through bool) {
	t.Helper()
	await(ctx, t, fmt.Sprintf("connections to port %s to go through the proxy: %t", port, through), func() bool {
		return p.throughProxy(ctx, t, port) == through
	})
}

// heldByGuest starts a flow of a guest's own, or reads its report.
func (p *pair) heldByGuest(ctx context.Context, t *testing.T, guest, path string, q url.Values) flow.Report {
	t.Helper()
	var r flow.Report
	p.askGuest(ctx, t, guest, path+"?"+q.Encode(), &r)
	return r
}

// TestLiveChange edits exclusions of a running machine: new connections take
// another way within seconds, in the same pod and the same virtual machine.
// An established one stays under Keep and is reset under Reset.
func TestLiveChange(t *testing.T) {
	p := machines(t)
	ctx := testContext(t, 8*time.Minute)
	vm := p.vmi(ctx, t, "one")
	address := net.JoinHostPort(p.clients.Outside.Status.PodIP, "7100")
	p.exclude(ctx, t, "", "Keep")
	if _, err := p.ReadyPod(ctx, meshKey("one")); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		onChange string
		lasts    bool
	}{{"Keep", true}, {"Reset", false}} {
		name := url.Values{"name": {tc.onChange}, "addr": {address}}
		if r := p.heldByGuest(ctx, t, "one", "hold", name); r.Error != "" {
			t.Fatalf("guest one's connection to %s: %+v", address, r)
		}
		begin := time.Now()
		p.exclude(ctx, t, `[{"port":7000},{"port":7100}]`, tc.onChange)
		p.until(ctx, t, "7000", false)
		took := time.Since(begin)
		if _, err := p.ReadyPod(ctx, meshKey("one")); err != nil {
			t.Fatal(err)
		}
		report := p.settled(ctx, t, name)
		t.Logf("%s: %.1f s from the edit to the first new connection bypassing the proxy; the established one: %+v", tc.onChange, took.Seconds(), report)
		if lasts := report.Error == ""; lasts != tc.lasts {
			t.Errorf("%s: the established connection lasts: %t, want %t (%+v)", tc.onChange, lasts, tc.lasts, report)
		}
		begin = time.Now()
		p.exclude(ctx, t, "", "Keep")
		p.until(ctx, t, "7000", true)
		t.Logf("%.1f s from the edit back to the first new connection through the proxy", time.Since(begin).Seconds())
		if _, err := p.ReadyPod(ctx, meshKey("one")); err != nil {
			t.Fatal(err)
		}
	}
	again, err := p.ReadyPod(ctx, meshKey("one"))
	if err != nil {
		t.Fatal(err)
	}
	if again.UID != p.one.UID {
		t.Errorf("the changes made a new pod: %s, before %s", again.Name, p.one.Name)
	}
	if now := p.vmi(ctx, t, "one"); now != vm {
		t.Errorf("the changes made a new machine: %s, before %s", now, vm)
	}
}

// settled looks at a guest's flow until it has ended, or has had ten more answers.
func (p *pair) settled(ctx context.Context, t *testing.T, name url.Values) flow.Report {
	t.Helper()
	first := p.heldByGuest(ctx, t, "one", "held", name)
	var r flow.Report
	await(ctx, t, "the connection to end or to get ten more answers", func() bool {
		r = p.heldByGuest(ctx, t, "one", "held", name)
		return r.Error != "" || r.Answered >= first.Answered+10
	})
	return r
}

// vmi is the UID of a VirtualMachineInstance.
func (p *pair) vmi(ctx context.Context, t *testing.T, name string) types.UID {
	t.Helper()
	u := &unstructured.Unstructured{}
	u.SetAPIVersion("kubevirt.io/v1")
	u.SetKind("VirtualMachineInstance")
	if err := p.Get(ctx, meshKey(name), u); err != nil {
		t.Fatal(err)
	}
	return u.GetUID()
}
