// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// pair is two machines in the mesh, "one" and "two".
type pair struct {
	*suite.Machines
	one, two *corev1.Pod
}

// newPair creates the machines. Routes to "two" have a timeout of a second and
// three attempts.
func newPair(t *suite.T, namespace string) *pair {
	t.Helper()
	ms := t.Machines(namespace,
		suite.Machine{Name: "one", Version: "v1"},
		suite.Machine{Name: "two", Version: "v2", HTTP: "timeout: 1s, retries: {attempts: 3, perTryTimeout: 900ms, retryOn: gateway-error}"})
	return &pair{ms, ms.Pods["one"], ms.Pods["two"]}
}

// twoHost is the name by which guest "one" calls "two". Guests have no search
// domains.
func (p *pair) twoHost() string { return "two." + p.SampleNamespace() + ".svc.cluster.local" }

// response is the result of a request of a guest's own client.
type response struct {
	Code         int    `json:"code"`
	Body         string `json:"body"`
	Error        string `json:"error"`
	Milliseconds int    `json:"milliseconds"`
}

// getFromGuest sends a request from guest "one".
func (p *pair) getFromGuest(ctx context.Context, t *suite.T, address string) response {
	t.Helper()
	var got response
	p.AskGuest(ctx, t, "one", "get?"+url.Values{"url": {address}}.Encode(), &got)
	return got
}

// awaitRecord waits for a line of a proxy's access log.
func (p *pair) awaitRecord(ctx context.Context, t *suite.T, pod *corev1.Pod, what string, match func(scenario.Connection) bool) scenario.Connection {
	t.Helper()
	var found scenario.Connection
	t.NoError(p.Wait(ctx, "the access log of "+pod.Name, func(ctx context.Context) (string, error) {
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
	}))
	return found
}

// mesh checks Istio's features between two machines.
func mesh(t *suite.T) {
	p := newPair(t, "mesh")
	p.NeedsEnvoy(t)
	t.Step("MutualTLS", p.mutualTLS)
	t.Step("Timeout", p.timeout)
	t.Step("Retries", p.retries)
	t.Step("Weights", p.weights)
}

// mutualTLS sends a request from one guest to the other. It must pass the proxy of
// the first guest, reach the proxy of the second guest with mutual TLS, and then
// the guest. Plain text from outside the mesh must be refused.
func (p *pair) mutualTLS(t *suite.T) {
	ctx := t.Limit(3 * time.Minute)
	got := p.getFromGuest(ctx, t, "http://"+p.twoHost()+"/tls?mutual")
	if got.Code != 200 || !strings.Contains(got.Body, "hello from guest two") {
		t.Fatalf("the answer of guest two to guest one: %+v", got)
	}
	out := p.awaitRecord(ctx, t, p.one, "the request at port 15001", func(c scenario.Connection) bool { return c.Path == "/tls?mutual" })
	in := p.awaitRecord(ctx, t, p.two, "the request at port 15006", func(c scenario.Connection) bool { return c.Path == "/tls?mutual" })
	t.Logf("guest one's proxy: %s", out)
	t.Logf("guest two's proxy: %s", in)
	if !strings.HasSuffix(out.Listener, ":15001") || !strings.HasPrefix(out.Cluster, "outbound|80|v2|two.") {
		t.Errorf("guest one's proxy sent the request to another cluster: %+v", out)
	}
	if !strings.HasSuffix(in.Listener, ":15006") || in.Peer != p.Identity() || !strings.HasPrefix(in.TLS, "TLSv1.") {
		t.Errorf("guest two's proxy did not receive mutual TLS from %s: %+v", p.Identity(), in)
	}
	if !strings.HasPrefix(in.Source, p.one.Status.PodIP+":") {
		t.Errorf("the request came from %s, want the pod of guest one, %s", in.Source, p.one.Status.PodIP)
	}
	for _, port := range []string{"8080", "9100"} {
		address := p.two.Status.PodIP + ":" + port
		if out, err := p.From(ctx, p.Clients.Outside, "tcp", address, "GET / HTTP/1.0\r\n\r"); err == nil && out != "" {
			t.Errorf("plain text to %s was answered: %q", address, out)
		} else {
			t.Logf("plain text to %s: refused (%v)", address, err)
		}
	}
	stats, err := p.Stats(ctx, p.two, `listener\.0\.0\.0\.0_15006\.no_filter_chain_match`)
	t.NoError(err)
	t.Logf("guest two's proxy: %v", stats)
	if stats["listener.0.0.0.0_15006.no_filter_chain_match"] < 2 {
		t.Errorf("the proxy counted fewer than two plain-text connections: %v", stats)
	}
}

// attempts is the number of requests of which one must take the expected time. A busy
// machine can delay the others.
const attempts = 5

// timeout checks that the timeout of the route ends a request that takes longer.
func (p *pair) timeout(t *suite.T) {
	ctx := t.Limit(3 * time.Minute)
	for _, tc := range []struct{ take, code, least, most int }{{100, 200, 100, 900}, {3000, 504, 850, 2500}} {
		var got response
		expected := func() bool { return got.Code == tc.code && got.Milliseconds >= tc.least && got.Milliseconds <= tc.most }
		for n := 0; n < attempts && !expected(); n++ {
			got = p.getFromGuest(ctx, t, fmt.Sprintf("http://%s/slow?milliseconds=%d", p.twoHost(), tc.take))
			t.Logf("a request that takes %d ms, with a timeout of 1 s: code %d after %d ms: %s", tc.take, got.Code, got.Milliseconds, strings.TrimSpace(got.Body))
		}
		if !expected() {
			t.Errorf("want code %d after %d to %d ms: %+v", tc.code, tc.least, tc.most, got)
		}
	}
}

// retries checks that the client's proxy repeats a request that failed.
func (p *pair) retries(t *suite.T) {
	ctx := t.Limit(3 * time.Minute)
	var path string
	var got response
	for n := 0; n < attempts && got.Code != 200; n++ {
		path = fmt.Sprintf("/flaky?key=%d&fail=2", time.Now().UnixNano())
		got = p.getFromGuest(ctx, t, "http://"+p.twoHost()+path)
	}
	if got.Code != 200 || !strings.Contains(got.Body, "request 3") {
		t.Errorf("want the answer to the third attempt: %+v", got)
	}
	out := p.awaitRecord(ctx, t, p.one, "the request", func(c scenario.Connection) bool { return c.Path == path })
	if out.Attempts != 3 {
		t.Errorf("the proxy made %d attempts, want 3: %+v", out.Attempts, out)
	}
	var codes []int
	p.awaitRecord(ctx, t, p.two, "three requests", func(scenario.Connection) bool {
		codes = nil
		all, err := p.Connections(ctx, p.two)
		for _, c := range all {
			if c.Path == path {
				codes = append(codes, c.Code)
			}
		}
		return err == nil && len(codes) == 3
	})
	t.Logf("guest one sent one request; guest two's proxy answered with the codes %v; %s", codes, out)
	if !slices.Equal(codes, []int{503, 503, 200}) {
		t.Errorf("codes %v, want two failures and a success", codes)
	}
}

// canaryYAML is what a user applies to distribute requests to two machines. %[1]s
// is the namespace.
const canaryYAML = `
apiVersion: v1
kind: Service
metadata: {name: both, namespace: %[1]s}
spec:
  selector: {family: two}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: both, namespace: %[1]s}
spec:
  host: both.%[1]s.svc.cluster.local
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: both, namespace: %[1]s}
spec:
  hosts: [both.%[1]s.svc.cluster.local]
  http:
  - route:
    - {destination: {host: both.%[1]s.svc.cluster.local, subset: v1}, weight: 75}
    - {destination: {host: both.%[1]s.svc.cluster.local, subset: v2}, weight: 25}
`

// weights checks that a route distributes requests to two machines by weight.
func (p *pair) weights(t *suite.T) {
	ctx := t.Limit(3 * time.Minute)
	t.NoError(p.ApplyManifest(ctx, fmt.Appendf(nil, canaryYAML, p.SampleNamespace())))
	const n = 200
	count := map[string]int{}
	t.NoError(p.Wait(ctx, "the route", func(ctx context.Context) (string, error) {
		out, err := p.From(ctx, p.Clients.Inside, "repeat", fmt.Sprint(n), "http://both/")
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
		// Before the proxy has the route, each machine answers half of the requests. Four
		// standard deviations of 200 draws at 25 % are 24.5.
		if count["one"]+count["two"] != n || count["two"] < 25 || count["two"] > 75 {
			return fmt.Sprintf("answers to all of %d requests, a quarter of them by two: %v", n, count), nil
		}
		return "", nil
	}))
	t.Logf("%d requests, weights 75 and 25: one answered %d, two answered %d", n, count["one"], count["two"])
}
