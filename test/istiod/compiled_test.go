// SPDX-License-Identifier: Apache-2.0

package istiod_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/istiod"
	"meshvm.io/meshvm/test/testenv"
)

var update = flag.Bool("update", false, "write the golden files")

// limit is the time for istiod to handle new objects. It is long because the machine may
// be compiling programs.
const limit = 2 * time.Minute

var shared = testenv.Shared{Options: testenv.Options{Istio: true, WithoutMeshVM: true, Controllers: []string{"endpointslice-controller"}}}

func TestMain(m *testing.M) { shared.Main(m) }

// suite runs istiod in two minor versions.
type suite struct {
	*testing.T
	client.Client
	servers []*istiod.Server
}

// goldenNamespace is the namespace of the objects in the golden files.
const goldenNamespace = "shop"

// objects reads the golden file of a case, and moves its objects to a namespace.
func objects(t *testing.T, file, namespace string) []*unstructured.Unstructured {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.ReplaceAll(text, []byte("namespace: "+goldenNamespace+"\n"), []byte("namespace: "+namespace+"\n"))
	text = bytes.ReplaceAll(text, []byte("- "+goldenNamespace+"/"), []byte("- "+namespace+"/")) // gateways
	text = bytes.ReplaceAll(text, []byte("."+goldenNamespace+".svc."), []byte("."+namespace+".svc."))
	var all []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		u := &unstructured.Unstructured{}
		err := decoder.Decode(&u.Object)
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, u)
	}
}

func (s *suite) create(o client.Object) {
	s.Helper()
	if err := s.Create(s.Context(), o); err != nil {
		s.Fatal(err)
	}
}

// node creates a node in the zone that has its name.
func (s *suite) node(name string) {
	s.Helper()
	s.create(&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelTopologyRegion: "region", corev1.LabelTopologyZone: name}}})
}

// pod creates a pod that runs.
func (s *suite) pod(namespace, name, ip, node string, labels map[string]string) {
	s.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: labels},
		Spec:       corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{Name: "compute", Image: "guest"}}},
	}
	s.create(pod)
	pod.Status = corev1.PodStatus{
		Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}},
		Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
	}
	if err := s.Status().Update(s.Context(), pod); err != nil {
		s.Fatal(err)
	}
}

// injected are labels of pods with a sidecar (Istio, pkg/kube/inject).
func injected(labels map[string]string) map[string]string {
	labels = maps.Clone(labels)
	labels["security.istio.io/tlsMode"] = "istio"
	return labels
}

// TestCompiled creates the objects of the golden files of package children, and compares
// what two minor versions of istiod compile from them for the sidecars of the guest and of a
// client.
func TestCompiled(t *testing.T) {
	files, err := filepath.Glob("../../internal/children/testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	env := shared.Get(t)
	s := &suite{T: t, Client: env.Client}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: istiod.Namespace}})
	s.meshConfiguration()
	s.node("node-1")
	s.node("node-2")
	for _, release := range []istiod.Release{istiod.Current, istiod.Previous} {
		s.servers = append(s.servers, istiod.Start(t, env, release))
	}
	for i, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			sub := &suite{T: t, Client: s.Client, servers: s.servers}
			sub.compare(file, i)
		})
	}
}

// meshConfiguration creates Istio's mesh configuration, with a provider of traces. Istio
// itself has providers of access logs and metrics. The Service of the provider is in a namespace that Sidecars do not
// contain.
func (s *suite) meshConfiguration() {
	s.Helper()
	const namespace = "traces"
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	s.create(&corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: istiod.Namespace, Name: "istio"},
		Data:       map[string]string{"mesh": `extensionProviders: [{name: traces, zipkin: {service: traces.` + namespace + `.svc.cluster.local, port: 9411}}]`},
	})
	s.create(&corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "traces"},
		Spec:       corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 9411}}},
	})
}

// compiled is the content of a golden file of this package.
type compiled struct {
	Guest []istiod.Inbound `json:"guest,omitempty"`
	// Egress is set if a Sidecar selects the guest.
	Egress *istiod.Egress        `json:"egress,omitempty"`
	Client *istiod.Configuration `json:"client"`
	// Gateway is the configuration of a gateway whose pod runs in another namespace.
	Gateway []istiod.GatewayHosts `json:"gateway,omitempty"`
}

// addresses are the addresses of the pods of a case: a client, and at most three pods of
// guests. A proxy has one listener per address, so no other case has these.
func addresses(n int) (client string, guest []string) {
	return fmt.Sprintf("10.244.%d.9", n), []string{fmt.Sprintf("10.244.%d.1", n), fmt.Sprintf("10.244.%d.2", n), fmt.Sprintf("10.244.%d.3", n)}
}

// compare compares the configuration of one case.
func (s *suite) compare(file string, n int) {
	s.Helper()
	namespace := "case-" + strings.TrimSuffix(filepath.Base(file), ".yaml")
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
	var gateways []string
	limited := false
	for _, o := range objects(s.T, file, namespace) {
		if bound, _, _ := unstructured.NestedStringSlice(o.Object, "spec", "gateways"); len(bound) > 0 {
			gateways = bound
		}
		limited = limited || o.GetKind() == "Sidecar"
		switch o.GetKind() {
		case "VirtualMachine", "PodNATConfiguration":
		default:
			s.create(o)
		}
	}
	clientIP, guestIPs := addresses(n)
	var guests []map[string]string
	for i, pod := range objects(s.T, filepath.Join(filepath.Dir(file), "pods", filepath.Base(file)), namespace) {
		guests = append(guests, injected(pod.GetLabels()))
		s.pod(namespace, fmt.Sprintf("guest-%d", i+1), guestIPs[i], []string{"node-1", "node-2", "node-2"}[i], guests[i])
	}
	client := injected(map[string]string{"app": "client", "istio-locality": "region.node-1"})
	s.pod(namespace, "client", clientIP, "node-1", client)

	ingress := s.gateways(namespace, n, gateways)

	host := "web." + namespace + ".svc.cluster.local"
	golden := filepath.Join("testdata", filepath.Base(file))
	read := func(server *istiod.Server) (string, error) {
		inside, err := server.Compiled(s.Context(), istiod.Proxy{Namespace: namespace, Pod: "guest-1", IP: guestIPs[0], Labels: guests[0]}, host)
		if err != nil {
			return "", err
		}
		outside, err := server.Compiled(s.Context(), istiod.Proxy{Namespace: namespace, Pod: "client", IP: clientIP, Labels: client}, host)
		if err != nil {
			return "", err
		}
		outside.Inbound, outside.Egress = nil, nil
		all := compiled{Guest: inside.Inbound, Client: outside}
		if limited {
			all.Egress = inside.Egress
		}
		if ingress != nil {
			if all.Gateway, err = server.CompiledForGateway(s.Context(), *ingress, host); err != nil {
				return "", err
			}
		}
		text, err := sigsyaml.Marshal(all)
		return strings.NewReplacer(guestIPs[0], "guest-1", guestIPs[1], "guest-2", guestIPs[2], "guest-3").Replace(string(text)), err
	}
	if *update {
		text := ""
		for same := 0; same < 50; same++ { // istiod has handled the objects.
			time.Sleep(100 * time.Millisecond) // istiod is another process.
			if next, err := read(s.servers[0]); err != nil || next != text {
				text, same = next, 0
			}
		}
		if err := errors.Join(os.MkdirAll("testdata", 0o750), os.WriteFile(golden, []byte(text), 0o600)); err != nil {
			s.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		s.Fatal(err)
	}
	s.reachable(want)
	for _, server := range s.servers {
		s.await(golden, string(want), server.Version, func() (string, error) { return read(server) })
	}
}

// await waits until istiod has handled the objects, so that it returns the wanted text.
func (s *suite) await(golden, want, version string, read func() (string, error)) {
	s.Helper()
	deadline := time.Now().Add(limit)
	for {
		got, err := read()
		diff := cmp.Diff(want, got)
		if err == nil && diff == "" {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("Istio %s, %s after %s: error %v (-want +got); -update rewrites it:\n%s", version, golden, limit, err, diff)
		}
		time.Sleep(100 * time.Millisecond) // istiod is another process.
	}
}

// gateways creates the Gateways of a case, and a gateway's pod in another namespace. It
// returns nil if the case has none.
func (s *suite) gateways(namespace string, n int, names []string) *istiod.Proxy {
	s.Helper()
	if len(names) == 0 {
		return nil
	}
	labels := map[string]string{"istio": namespace}
	for _, name := range names {
		_, name, _ = strings.Cut(name, "/")
		hosts := []any{"*/shop.example.com", "*/*.shop.example.com"}
		gateway := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{
			"selector": map[string]any{"istio": namespace},
			"servers": []any{
				map[string]any{"port": map[string]any{"number": int64(80), "name": "http", "protocol": "HTTP"}, "hosts": hosts},
				map[string]any{"port": map[string]any{"number": int64(443), "name": "tls", "protocol": "TLS"}, "tls": map[string]any{"mode": "PASSTHROUGH"}, "hosts": hosts},
			},
		}}}
		if name != "public" { // Two gateways of a pod must not have the same host on a port.
			gateway.Object["spec"].(map[string]any)["servers"] = []any{
				map[string]any{"port": map[string]any{"number": int64(8080), "name": "http-alt", "protocol": "HTTP"}, "hosts": hosts},
			}
		}
		gateway.SetAPIVersion("networking.istio.io/v1")
		gateway.SetKind("Gateway")
		gateway.SetNamespace(namespace)
		gateway.SetName(name)
		s.create(gateway)
	}
	s.create(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace + "-ingress"}})
	ip := fmt.Sprintf("10.244.%d.8", n)
	s.pod(namespace+"-ingress", "gateway", ip, "node-1", labels)
	return &istiod.Proxy{Namespace: namespace + "-ingress", Pod: "gateway", IP: ip, Labels: labels, Gateway: true}
}

// reachable checks that each route of a golden file leads to a destination with an endpoint.
func (s *suite) reachable(golden []byte) {
	s.Helper()
	var c compiled
	if err := sigsyaml.UnmarshalStrict(golden, &c); err != nil {
		s.Fatal(err)
	}
	served := map[string]bool{}
	for _, x := range c.Client.Clusters {
		served[x.Name] = len(x.Endpoints) > 0 || x.Type == "ORIGINAL_DST"
	}
	for _, o := range c.Client.Outbound {
		for _, r := range o.Routes {
			for _, to := range append(slices.Clone(r.To), r.Mirrors...) {
				if name, _, _ := strings.Cut(to, " "); !served[name] {
					s.Errorf("port %d has a route to %s, which has no endpoint", o.Port, to)
				}
			}
		}
	}
}
