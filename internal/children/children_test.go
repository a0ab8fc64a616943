// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/validate"
)

var update = flag.Bool("update", false, "write the golden files")

// input returns the input for a guest whose virt-launcher pods run on separate
// nodes.
func input(mvm *b.MVMBuilder, vmi *b.VMIBuilder, suffixes ...string) children.Input {
	in := children.Input{MVM: mvm.Obj()}
	if vmi == nil {
		return in
	}
	in.VMI = vmi.Obj()
	for i, s := range suffixes {
		in.LauncherPods = append(in.LauncherPods, *b.LauncherPod(in.VMI, s).Node([]string{"node-1", "node-2"}[i]).IP("10.244.0.8").Obj())
	}
	return in
}

// versions returns the input for a guest whose live pods have these versions.
func versions(spec string, pods ...string) children.Input {
	in := input(b.MVM("web").Version(spec).Ports(b.HTTP("http", 80, 8080), b.TCP("db", 5432)), b.VMI("web"))
	for i, version := range pods {
		pod := b.LauncherPod(in.VMI, fmt.Sprintf("pod%d", i)).Node("node-1").IP("10.244.0.8").Obj()
		if pod.Labels[v1alpha1.LabelVersion] = version; version == "" {
			delete(pod.Labels, v1alpha1.LabelVersion)
		}
		in.LauncherPods = append(in.LauncherPods, *pod)
	}
	return in
}

func TestDesiredGolden(t *testing.T) {
	inputs := map[string]children.Input{
		// No guest exists yet.
		"smallest": input(b.MVM("web"), nil),
		// Every kind of port, mode and exclusion, and a migration in progress.
		"full": input(b.MVM("web").Version("v2").ExportTo(".", "ingress").ServiceType(v1alpha1.ServiceTypeLoadBalancer).
			IPFamilyPolicy(v1alpha1.ServiceIPFamilyPolicyPreferDualStack).
			Ports(b.HTTP("http", 80, 8080), v1alpha1.Port{Name: "grpc", Port: 9000, AppProtocol: "grpc"},
				b.TLS("tls", 443, 8443), b.TCP("db", 5432), v1alpha1.Port{Name: "cache", Port: 6379, AppProtocol: "redis"},
				b.Direct("ssh", 22), b.UDP("dns", 53)).
			MTLS(v1alpha1.MTLSModeStrict).PortMTLS("http", v1alpha1.MTLSModePermissive).PortMTLS("db", v1alpha1.MTLSModeDisable).
			Timeout("http", "1m30s").Retries("http", &networkingv1alpha3.HTTPRetry{Attempts: 3, PerTryTimeout: durationpb.New(2e9), RetryOn: "connect-failure"}).
			Retries("grpc", &networkingv1alpha3.HTTPRetry{}).
			TrafficPolicy(&networkingv1alpha3.TrafficPolicy{
				LoadBalancer: &networkingv1alpha3.LoadBalancerSettings{LbPolicy: &networkingv1alpha3.LoadBalancerSettings_Simple{
					Simple: networkingv1alpha3.LoadBalancerSettings_LEAST_REQUEST,
				}},
				ConnectionPool: &networkingv1alpha3.ConnectionPoolSettings{Tcp: &networkingv1alpha3.ConnectionPoolSettings_TCPSettings{MaxConnections: 100}},
			}).
			DNS(v1alpha1.DNSPolicyProxy).ExcludePorts(25, 5000).ExcludeCIDRs("10.96.0.0/16", "10.96.1.0/24"),
			b.VMI("web").NetworkCIDR("10.9.0.0/24").PodInterface("default", "ens3"), "source", "target"),
		// The unchanged spec of an existing VirtualMachine.
		"pasted": input(b.MVM("web").
			TemplateLabel("app", "storefront").TemplateLabel("version", "v1").TemplateLabel("team", "a").
			TemplateLabel("app.kubernetes.io/managed-by", "Helm").
			TemplateAnnotation("example.com/note", "kept").TemplateAnnotation("sidecar.istio.io/inject", "TRUE").
			Interface(b.Masquerade("main", kubevirtv1.Port{Name: "http", Port: 8080}), b.PodNetwork("10.9.0.0/24")).
			Interface(b.Bridge("lan"), b.MultusNetwork("shop/lan")).
			VM(func(s *kubevirtv1.VirtualMachineSpec) {
				s.RunStrategy, s.Running = nil, new(true)
				s.Instancetype = &kubevirtv1.InstancetypeMatcher{Name: "u1.small"}
				s.Template.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
			}), nil),
		// A pod of QoS class Guaranteed.
		"dedicated cpus": input(b.MVM("web").VM(func(s *kubevirtv1.VirtualMachineSpec) {
			s.Template.Spec.Domain.CPU = &kubevirtv1.CPU{Cores: 2, DedicatedCPUPlacement: true}
		}), nil),
		// TCP ports of a headless Service have no routes, and it has no subset.
		"headless": input(b.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).
			Ports(b.HTTP("http", 8080, 8080), b.TCP("db", 5432), b.TLS("tls", 8443, 8443)).Timeout("http", "5s"), nil),
		"headless with policy": input(b.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).Ports(b.TCP("db", 5432)).
			TrafficPolicy(&networkingv1alpha3.TrafficPolicy{
				ConnectionPool: &networkingv1alpha3.ConnectionPoolSettings{Tcp: &networkingv1alpha3.ConnectionPoolSettings_TCPSettings{MaxConnections: 100}},
			}), nil),
		// TLS ports have no routes.
		"tls only": input(b.MVM("web").Ports(b.TLS("tls", 443, 8443), b.Direct("ssh", 22)), nil),
		// Protocols that follow from the names of the ports.
		"protocols of names": input(b.MVM("web").Ports(b.TCP("http", 80), b.TCP("http-web", 81), b.TCP("http2", 82), b.TCP("grpc-api", 83),
			b.TCP("grpc-web", 84), b.TCP("grpc-webapi", 85), b.TCP("https", 443), b.TCP("tls-mail", 465), b.TCP("tcp-http", 90),
			b.TCP("mongo", 27017), b.TCP("mysql", 3306), b.TCP("redis", 6379), b.TCP("db", 5432), b.TCP("httpd", 86), b.TCP("web-http", 87),
			b.TCP("udp-http", 88), b.UDP("http-dns", 53),
			v1alpha1.Port{Name: "http-explicit", Port: 91, AppProtocol: "tcp"}, b.Direct("http-direct", 92)), nil),
		// A guest that only connects to others.
		"no ports": input(b.MVM("web").NoPorts(), b.VMI("web")),
		// Every setting of the Service, and metadata.
		"service": input(b.MVM("web").Service(v1alpha1.ServiceSpec{
			Type: v1alpha1.ServiceTypeLoadBalancer, LoadBalancerClass: "example.com/lb", LoadBalancerSourceRanges: []string{"192.0.2.0/24"},
			ExternalTrafficPolicy: "Local", InternalTrafficPolicy: "Cluster", SessionAffinity: "ClientIP", PublishNotReadyAddresses: new(true),
			Labels: map[string]string{"team": "a"}, Annotations: map[string]string{"networking.istio.io/exportTo": "."},
		}).VMMetadata(map[string]string{"team": "a"}, map[string]string{"backup.example.com/keep": "7d"}).
			Ports(b.HTTP("http", 80, 8080), b.HTTP("http-alt", 8080, 8080),
				v1alpha1.Port{Name: "tcp-elasticsearch-http", Port: 9200, NodePort: 30920},
				v1alpha1.Port{Name: "ws", Port: 81, AppProtocol: "kubernetes.io/ws"},
				v1alpha1.Port{Name: "wss", Port: 443, AppProtocol: "kubernetes.io/wss"}), b.VMI("web")),
		// Clients by service account and namespace. Two ports have the same target.
		"allow": input(b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.HTTP("http-alt", 8081, 8080), b.TCP("db", 5432), b.Direct("ssh", 22)).
			Allow(v1alpha1.AllowedClient{ServiceAccount: "frontend/web", Ports: []string{"http", "http-alt"}},
				v1alpha1.AllowedClient{ServiceAccount: "batch", Ports: []string{"db", "http"}},
				v1alpha1.AllowedClient{Namespace: "shop"}), nil),
		// A policy for each action. Rules with attributes of HTTP get the HTTP ports.
		"authorization": input(authorized(), nil),
		// Each limit, on HTTP and TCP ports. A port with the mode Permissive has two filter
		// chains, and two ports of the Service lead to one port of the guest.
		"limits": input(limited(), nil),
		// Tokens of two issuers, one of them with two sets of keys.
		"authentication":          input(authenticated(), nil),
		"authentication optional": input(optional(b.MVM("web")), nil),
		// Only one external host is open, besides the services of two namespaces.
		"egress": input(registryOnly(), nil),
		// Each kind of an external service, and services of other namespaces.
		"egress with hosts": input(externalServices(), nil),
		// A service account, which the webhook sets.
		"identity": input(b.MVM("web").Identity("db").TemplateAnnotation("example.com/note", "kept"), nil),
		// Each list of Istio's Telemetry.
		"telemetry": input(observed(b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.TCP("db", 5432))), nil),
		// Ambient mode, enrolled, with DNS through ztunnel.
		"ambient": func() children.Input {
			in := input(b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient).DNS(v1alpha1.DNSPolicyProxy).
				TemplateAnnotation("sidecar.istio.io/inject", "false"), b.VMI("web"))
			in.LauncherPods = []corev1.Pod{*b.LauncherPod(in.VMI, "source").Node("node-1").IP("10.244.0.8").Ambient("enabled", true).Obj()}
			return in
		}(),
		// The policies of a waypoint target the Service and its ports, and ztunnel permits
		// only the waypoint.
		"waypoint": func() children.Input {
			in := input(withWaypoint(), b.VMI("web"))
			in.LauncherPods = []corev1.Pod{*b.LauncherPod(in.VMI, "source").Node("node-1").IP("10.244.0.8").Ambient("enabled", true).Obj()}
			return in
		}(),
		// Until the next start, the sidecar of the pod enforces the policies.
		"waypoint with a sidecar": func() children.Input {
			in := input(withWaypoint(), b.VMI("web"))
			in.LauncherPods = []corev1.Pod{*b.LauncherPod(in.VMI, "source").Node("node-1").IP("10.244.0.8").Obj()}
			return in
		}(),
		// Without policies, clients may connect directly.
		"waypoint without policies": input(b.MVM("web").DataPlane(v1alpha1.DataPlaneAmbient).Waypoint("waypoint", ""), nil),
		// The guest is delayed by KubeVirt, without a webhook.
		"start paused": func() children.Input {
			in := input(b.MVM("web"), nil)
			in.StartGate = children.StartGatePause
			return in
		}(),
		"start immediate": input(b.MVM("web").Start(v1alpha1.StartPolicyImmediate), nil),
		// A pod that waits for its rules.
		"gated": func() children.Input {
			in := input(b.MVM("web"), b.VMI("web"))
			in.LauncherPods = []corev1.Pod{*b.LauncherPod(in.VMI, "source").Node("node-1").IP("10.244.0.8").Gate(false).Obj()}
			return in
		}(),
		"binding left open": input(b.MVM("web").Interface(kubevirtv1.Interface{Name: "main", Model: "virtio"}, b.PodNetwork("")), nil),
		// Without a mesh port, no VirtualService exists.
		"direct only": input(b.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).MTLS(v1alpha1.MTLSModeDisable).
			Ports(b.Direct("ssh", 22), b.UDP("syslog", 514)), nil),
		// TLS settings of the proxy do not apply to ports that bypass the guest's proxy.
		"policy with tls": input(b.MVM("web").ServiceType(v1alpha1.ServiceTypeNodePort).
			Ports(b.HTTP("http", 80, 8080), b.Direct("ssh", 22), b.Direct("vnc", 5900)).
			TrafficPolicy(&networkingv1alpha3.TrafficPolicy{
				Tls:              &networkingv1alpha3.ClientTLSSettings{Mode: networkingv1alpha3.ClientTLSSettings_ISTIO_MUTUAL},
				OutlierDetection: &networkingv1alpha3.OutlierDetection{MaxEjectionPercent: 50},
				PortLevelSettings: []*networkingv1alpha3.TrafficPolicy_PortTrafficPolicy{{
					Port: &networkingv1alpha3.PortSelector{Number: 5900},
					Tls:  &networkingv1alpha3.ClientTLSSettings{Mode: networkingv1alpha3.ClientTLSSettings_SIMPLE, CaCertificates: "system"},
				}},
			}), nil),
		// The version of the spec takes effect at the next start of the guest.
		"version pending": versions("v2", "v1"),
		// The pod of the previous version still exists.
		"versions of two pods": versions("v2", "v1", "v2"),
		// A user has removed the label of one pod.
		"version removed": versions("v1", "v1", ""),
		// Neither a VirtualMachine nor the operator's labels on the pod.
		"adoption": adopted(),
	}
	maps.Copy(inputs, routeInputs())
	maps.Copy(inputs, sharedCases())
	maps.Copy(inputs, cookbookInputs(t))
	for name, in := range inputs {
		t.Run(name, func(t *testing.T) {
			if err := validate.Spec(in.MVM); err != nil {
				t.Fatal(err)
			}
			before := in.MVM.DeepCopy()
			objects, err := children.Desired(in)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(before.Spec.VirtualMachine, in.MVM.Spec.VirtualMachine); diff != "" {
				t.Errorf("the input was changed (-before +after):\n%s", diff)
			}
			file := strings.ReplaceAll(name, " ", "-") + ".yaml"
			others, pods := otherMembers(t, in)
			golden(t, filepath.Join("testdata", file), append(objects, others...))
			golden(t, filepath.Join("testdata", "pods", file), append(guestPods(objects, in.LauncherPods), pods...))
		})
	}
}

func golden(t *testing.T, path string, objects []children.Object) {
	t.Helper()
	var got bytes.Buffer
	for _, o := range objects {
		y, err := yaml.Marshal(o)
		if err != nil {
			t.Fatal(err)
		}
		got.WriteString("---\n")
		got.Write(y)
	}
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, got.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got.String()); diff != "" {
		t.Errorf("%s (-want +got); -update rewrites it:\n%s", path, diff)
	}
}

// TestDesiredShape checks the properties that all children have in common.
func TestDesiredShape(t *testing.T) {
	in := input(observed(optional(b.MVM("web").Ports(b.HTTP("http", 80, 8080)).Allow(v1alpha1.AllowedClient{Namespace: "frontend"}).MaxConnections("http", 1).Egress(external("x", "x.example.com")))), b.VMI("web"), "abcde")
	objects, err := children.Desired(in)
	if err != nil {
		t.Fatal(err)
	}
	kinds := children.Kinds()
	if len(objects) != len(kinds) {
		t.Fatalf("%d objects of %d kinds", len(objects), len(kinds))
	}
	for i, o := range objects {
		gvk := o.GetObjectKind().GroupVersionKind()
		if gvk != kinds[i].GroupVersionKind {
			t.Errorf("object %d is a %v, want a %v: objects must be in the order in which they are applied", i, gvk, kinds[i])
		}
		// Events of an object lead to the MeshedVirtualMachine by its name.
		if !children.Named(gvk.GroupKind(), o.GetName(), in.MVM) && gvk != children.PodNATConfigurationKind {
			t.Errorf("%s is named %q: use the name of the MeshedVirtualMachine, or add the kind to Named", gvk.Kind, o.GetName())
		}
		if o.GetNamespace() != in.MVM.Namespace {
			t.Errorf("%s is in namespace %q", gvk.Kind, o.GetNamespace())
		}
		if !metav1.IsControlledBy(o, in.MVM) || !ptr.Deref(metav1.GetControllerOf(o).BlockOwnerDeletion, false) {
			t.Errorf("%s has owners %v", gvk.Kind, o.GetOwnerReferences())
		}
		for key, want := range map[string]string{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue, v1alpha1.LabelMeshedVirtualMachine: "web"} {
			if got := o.GetLabels()[key]; got != want {
				t.Errorf("%s has label %s=%q", gvk.Kind, key, got)
			}
		}
		if len(o.GetFinalizers()) != 0 || o.GetResourceVersion() != "" || o.GetUID() != "" {
			t.Errorf("%s has metadata that the operator must not set", gvk.Kind)
		}
	}
}

// TestSelectors checks that Service, subset and policy select the guest's pods.
func TestSelectors(t *testing.T) {
	for name, mvm := range map[string]*b.MVMBuilder{
		"plain":     b.MVM("web").Version("v3"),
		"own label": b.MVM("web").TemplateLabel("app", "storefront"),
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := children.Desired(input(mvm, nil))
			if err != nil {
				t.Fatal(err)
			}
			pod := map[string]string{}
			for _, o := range objects {
				if vm, ok := o.(*kubevirtv1.VirtualMachine); ok {
					pod = vm.Spec.Template.ObjectMeta.Labels
				}
			}
			pod[kubevirtv1.VirtualMachineInstanceIDLabel] = "web" // KubeVirt sets it.
			for _, o := range objects {
				if s, ok := o.(*corev1.Service); ok {
					for k, v := range s.Spec.Selector {
						if pod[k] != v {
							t.Errorf("the Service selects %s=%s, the pod has %q", k, v, pod[k])
						}
					}
				}
			}
			if want := mvm.Obj().Spec.VersionOrDefault(); pod[v1alpha1.LabelVersion] != want {
				t.Errorf("the pod has version %q, not %q", pod[v1alpha1.LabelVersion], want)
			}
		})
	}
}

func TestDesiredSkipsPods(t *testing.T) {
	vmi := b.VMI("web").Node("node-1").Obj()
	pod := b.LauncherPod(vmi, "abcde").IP("10.244.0.8").Obj()
	for name, tc := range map[string]struct {
		vmi  *kubevirtv1.VirtualMachineInstance
		pods []corev1.Pod
		want int
	}{
		"one":                   {vmi: vmi, pods: []corev1.Pod{*pod}, want: 1},
		"two":                   {vmi: vmi, pods: []corev1.Pod{*pod, *b.LauncherPod(vmi, "fghij").IP("10.244.0.9").Obj()}, want: 2},
		"no address":            {vmi: vmi, pods: []corev1.Pod{*b.LauncherPod(vmi, "abcde").Obj()}},
		"no VMI":                {pods: []corev1.Pod{*pod}},
		"no node":               {vmi: vmi, pods: []corev1.Pod{*b.LauncherPod(vmi, "abcde").Node("").IP("10.244.0.8").Obj()}},
		"pod of a former guest": {vmi: b.VMI("web").UID("new").Obj(), pods: []corev1.Pod{*pod}},
	} {
		t.Run(name, func(t *testing.T) {
			objects, err := children.Desired(children.Input{MVM: b.MVM("web").Obj(), VMI: tc.vmi, LauncherPods: tc.pods})
			if err != nil {
				t.Fatal(err)
			}
			got := 0
			for _, o := range objects {
				if _, ok := o.(*v1alpha1.PodNATConfiguration); ok {
					got++
				}
			}
			if got != tc.want {
				t.Errorf("%d PodNATConfigurations, want %d", got, tc.want)
			}
		})
	}
}

// TestDesiredWithBridgeBinding checks that no object is returned when the template cannot
// be completed.
func TestDesiredWithBridgeBinding(t *testing.T) {
	objects, err := children.Desired(children.Input{MVM: b.MVM("web").Interface(b.Bridge("default"), b.PodNetwork("")).Obj()})
	if invalid, ok := validate.FirstInvalid(err); len(objects) != 0 || !ok || invalid.Reason != v1alpha1.ReasonBridgeBinding {
		t.Errorf("got %d objects and %v, want reason %s", len(objects), err, v1alpha1.ReasonBridgeBinding)
	}
}
