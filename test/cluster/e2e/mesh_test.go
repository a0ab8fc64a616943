// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/programs/flow"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// meshNamespace is injected by its label, as the sample's.
const meshNamespace = "mesh"

// meshIdentity is what its pods prove to each other.
const meshIdentity = "spiffe://cluster.local/ns/" + meshNamespace + "/sa/default"

// twoHost is how guest "one" calls "two": guests take no search domains.
const twoHost = "two." + meshNamespace + ".svc.cluster.local"

// machineYAML is a MeshedVirtualMachine whose guest reports its name. extra is more
// of its spec.
func machineYAML(name, version, extra string) string {
	return fmt.Sprintf(`
apiVersion: v1
kind: Namespace
metadata: {name: %[1]s, labels: {istio-injection: enabled}}
---
apiVersion: meshvm.io/v1alpha1
kind: MeshedVirtualMachine
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  version: %[3]s
  virtualMachine:
    runStrategy: Always
    template:
      metadata: {labels: {family: two}}
      spec:
        terminationGracePeriodSeconds: 0
        domain:
          memory: {guest: 256Mi}
          devices: {}
          firmware:
            kernelBoot:
              kernelArgs: console=ttyS0 panic=-1 guest.name=%[2]s
              container: {image: "localhost/meshvm/guest:dev", kernelPath: /boot/vmlinuz, initrdPath: /boot/initrd}
  ports:
  - {name: http, port: 80, targetPort: 8080, appProtocol: http}
  - {name: lines, port: 9100, appProtocol: tcp}
%[4]s`, meshNamespace, name, version, extra)
}

func meshKey(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: meshNamespace, Name: name}
}

// pair is two meshed machines and the clients that talk to them.
type pair struct {
	*scenario.Scenario
	one, two *corev1.Pod // launcher pods
	clients  scenario.Clients
}

// twoMachines are made once: booting them takes most of a test's time.
var twoMachines = struct {
	sync.Mutex
	made bool
}{}

// machines returns the two machines "one" and "two", both in the mesh. Routes to
// "two" have a time limit of a second, and three retries.
func machines(t *testing.T) *pair {
	t.Helper()
	s := start(t)
	_, clients := ready(t, s)
	ctx := testContext(t, 10*time.Minute)
	twoMachines.Lock()
	defer twoMachines.Unlock()
	if !twoMachines.made {
		for _, m := range []string{
			machineYAML("one", "v1", ""),
			machineYAML("two", "v2", "  mesh: {traffic: {timeout: 1s, retries: {attempts: 3, perTryTimeout: 900ms, retryOn: 5xx}}}\n"),
		} {
			if err := s.ApplyManifest(ctx, []byte(m)); err != nil {
				t.Fatal(err)
			}
		}
		twoMachines.made = true
	}
	p := &pair{Scenario: s, clients: clients}
	var err error
	if p.clients.Inside, err = s.MakeClient(ctx, meshNamespace, "client"); err != nil {
		t.Fatal(err)
	}
	for name, pod := range map[string]**corev1.Pod{"one": &p.one, "two": &p.two} {
		if *pod, err = s.ReadyPod(ctx, meshKey(name)); err != nil {
			t.Fatal(err)
		}
		p.awaitGuest(ctx, t, name)
		checkSkew(ctx, t, s, *pod)
	}
	return p
}

func (p *pair) awaitGuest(ctx context.Context, t *testing.T, name string) {
	t.Helper()
	err := p.Wait(ctx, "guest "+name, func(ctx context.Context) (string, error) {
		out, err := p.From(ctx, p.clients.Inside, "get", "http://"+name+"/")
		if err != nil || !strings.Contains(out, "hello from guest "+name) {
			return fmt.Sprintf("its web server: %q, %v", out, err), nil
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// guestGot is what a guest's own client got.
type guestGot struct {
	Code         int    `json:"code"`
	Body         string `json:"body"`
	Error        string `json:"error"`
	Milliseconds int    `json:"milliseconds"`
}

// guestGets has guest "one" make a separate request.
func (p *pair) guestGets(ctx context.Context, t *testing.T, address string) guestGot {
	t.Helper()
	var got guestGot
	p.askGuest(ctx, t, "one", "get?"+url.Values{"url": {address}}.Encode(), &got)
	return got
}

// askGuest asks a guest's web server through the mesh.
func (p *pair) askGuest(ctx context.Context, t *testing.T, name, path string, into any) {
	t.Helper()
	out, err := p.From(ctx, p.clients.Inside, "get", "http://"+name+"/"+path)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("guest %s answered %q: %v", name, out, err)
	}
}

// record waits for a line of a proxy's access log.
func (p *pair) record(ctx context.Context, t *testing.T, pod *corev1.Pod, what string, match func(scenario.Connection) bool) scenario.Connection {
	t.Helper()
	var found scenario.Connection
	err := p.Wait(ctx, "the access log of "+pod.Name, func(ctx context.Context) (string, error) {
		all, err := p.Connections(ctx, pod)
		if err != nil {
			return "", err
		}
		i := slices.IndexFunc(all, match)
		if i < 0 {
			return what, nil
		}
		found = all[i]
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// envoy skips a test where the proxies are stand-ins.
func (p *pair) envoy(t *testing.T) {
	t.Helper()
	if p.StandIn(p.one) {
		t.Skip("this machine could not have Envoy: the proxies are stand-ins, which know neither TLS nor routes")
	}
}

// TestMutualTLS: a request of one guest's own goes to its proxy, from there with
// mutual TLS to the other's, and to the other guest; what is not from the mesh
// is refused.
func TestMutualTLS(t *testing.T) {
	p := machines(t)
	p.envoy(t)
	ctx := testContext(t, 3*time.Minute)
	got := p.guestGets(ctx, t, "http://"+twoHost+"/tls?mutual")
	if got.Code != 200 || !strings.Contains(got.Body, "hello from guest two") {
		t.Fatalf("guest one asked two: %+v", got)
	}
	out := p.record(ctx, t, p.one, "the request at port 15001", func(c scenario.Connection) bool { return c.Path == "/tls?mutual" })
	in := p.record(ctx, t, p.two, "the request at port 15006", func(c scenario.Connection) bool { return c.Path == "/tls?mutual" })
	t.Logf("guest one's proxy: %s", out)
	t.Logf("guest two's proxy: %s", in)
	if !strings.HasSuffix(out.Listener, ":15001") || !strings.HasPrefix(out.Cluster, "outbound|80|v2|two.") {
		t.Errorf("guest one's proxy took it elsewhere: %+v", out)
	}
	if !strings.HasSuffix(in.Listener, ":15006") || in.Peer != meshIdentity || !strings.HasPrefix(in.TLS, "TLSv1.") {
		t.Errorf("guest two's proxy saw no mutual TLS with %s: %+v", meshIdentity, in)
	}
	if !strings.HasPrefix(in.Source, p.one.Status.PodIP+":") {
		t.Errorf("the request came from %s, want guest one's pod %s", in.Source, p.one.Status.PodIP)
	}
	for _, port := range []string{"8080", "9100"} {
		address := p.two.Status.PodIP + ":" + port
		if out, err := p.From(ctx, p.clients.Outside, "tcp", address, "GET / HTTP/1.0\r\n\r"); err == nil && out != "" {
			t.Errorf("plain text to %s was answered: %q", address, out)
		} else {
			t.Logf("plain text to %s: refused (%v)", address, err)
		}
	}
	stats, err := p.Stats(ctx, p.two, `listener\.0\.0\.0\.0_15006\.no_filter_chain_match`)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("guest two's proxy: %v", stats)
	if stats["listener.0.0.0.0_15006.no_filter_chain_match"] < 2 {
		t.Errorf("the proxy counted no plain text: %v", stats)
	}
}

// TestTimeout: the route's time limit ends a request that takes longer.
func TestTimeout(t *testing.T) {
	p := machines(t)
	p.envoy(t)
	ctx := testContext(t, 3*time.Minute)
	for _, tc := range []struct{ take, code, least, most int }{{100, 200, 100, 900}, {3000, 504, 850, 2500}} {
		got := p.guestGets(ctx, t, fmt.Sprintf("http://%s/slow?milliseconds=%d", twoHost, tc.take))
		t.Logf("a request that takes %d ms, with a limit of 1 s: code %d after %d ms: %s", tc.take, got.Code, got.Milliseconds, strings.TrimSpace(got.Body))
		if got.Code != tc.code || got.Milliseconds < tc.least || got.Milliseconds > tc.most {
			t.Errorf("want code %d after %d to %d ms: %+v", tc.code, tc.least, tc.most, got)
		}
	}
}

// TestRetries: the client's proxy repeats a request that failed.
func TestRetries(t *testing.T) {
	p := machines(t)
	p.envoy(t)
	ctx := testContext(t, 3*time.Minute)
	path := fmt.Sprintf("/flaky?key=%d&fail=2", time.Now().UnixNano())
	got := p.guestGets(ctx, t, "http://"+twoHost+path)
	if got.Code != 200 || !strings.Contains(got.Body, "request 3") {
		t.Errorf("the third try should have been answered: %+v", got)
	}
	out := p.record(ctx, t, p.one, "the request", func(c scenario.Connection) bool { return c.Path == path })
	if out.Attempts != 3 {
		t.Errorf("the proxy tried %d times, want 3: %+v", out.Attempts, out)
	}
	var codes []int
	p.record(ctx, t, p.two, "three requests", func(scenario.Connection) bool {
		codes = nil
		all, err := p.Connections(ctx, p.two)
		for _, c := range all {
			if c.Path == path {
				codes = append(codes, c.Code)
			}
		}
		return err == nil && len(codes) == 3
	})
	t.Logf("guest one asked once; guest two's proxy passed on requests with codes %v; %s", codes, out)
	if !slices.Equal(codes, []int{503, 503, 200}) {
		t.Errorf("codes %v, want two failures and a success", codes)
	}
}

// canaryYAML is what a user adds to share requests between two machines.
const canaryYAML = `
apiVersion: v1
kind: Service
metadata: {name: both, namespace: mesh}
spec:
  selector: {family: two}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: both, namespace: mesh}
spec:
  host: both.mesh.svc.cluster.local
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: both, namespace: mesh}
spec:
  hosts: [both.mesh.svc.cluster.local]
  http:
  - route:
    - {destination: {host: both.mesh.svc.cluster.local, subset: v1}, weight: 75}
    - {destination: {host: both.mesh.svc.cluster.local, subset: v2}, weight: 25}
`

// TestWeights: a route shares requests between two machines.
func TestWeights(t *testing.T) {
	p := machines(t)
	p.envoy(t)
	ctx := testContext(t, 3*time.Minute)
	if err := p.ApplyManifest(ctx, []byte(canaryYAML)); err != nil {
		t.Fatal(err)
	}
	const n = 200
	count := map[string]int{}
	err := p.Wait(ctx, "the route", func(ctx context.Context) (string, error) {
		out, err := p.From(ctx, p.clients.Inside, "repeat", fmt.Sprint(n), "http://both/")
		if err != nil {
			return "", err
		}
		clear(count)
		for line := range strings.Lines(out) {
			for _, name := range []string{"one", "two"} {
				if strings.HasPrefix(line, "hello from guest "+name+":") {
					count[name]++
				}
			}
		}
		if count["one"]+count["two"] != n || count["two"] == 0 {
			return fmt.Sprintf("all of %d requests to be answered: %v", n, count), nil
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d requests, weights 75 and 25: one answered %d, two %d", n, count["one"], count["two"])
	// Four standard deviations of 200 draws at 25 % are 24.5.
	if count["two"] < 25 || count["two"] > 75 {
		t.Errorf("two answered %d of %d requests, want about a quarter", count["two"], n)
	}
}

// held reads the report of a flow that a client or a guest keeps.
func (p *pair) held(ctx context.Context, t *testing.T, from func(ctx context.Context, name string) (string, error), name string) flow.Report {
	t.Helper()
	out, err := from(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	var r flow.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("report of flow %s: %q: %v", name, out, err)
	}
	return r
}
