// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// attempt is an attempt to affect another namespace, or objects of others, through a
// MeshedVirtualMachine. Each has one outcome.
type attempt struct {
	what string
	// spec is YAML that is merged into a valid spec. VICTIM and OWN are the namespaces.
	spec string
	// name and namespace replace those of the MeshedVirtualMachine.
	name, namespace string
	// rejected is part of the error of the API server.
	rejected string
	// refused is the reason of the condition Accepted. After it, no object of Istio exists.
	refused v1alpha1.ConditionReason
	// held checks the objects of an accepted spec.
	held func(s *suite, name string) error
}

const victim = "tenancy-victim"

// attempts are the attempts of TestTenancy. Add a line for each field that refers to other
// objects.
var attempts = []attempt{
	// Hosts.
	{what: "host of a Service", spec: `mesh: {routes: {gateways: [gw], hosts: [web.VICTIM.svc.cluster.local]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "host of a Service without the domain", spec: `mesh: {routes: {gateways: [gw], hosts: [web.VICTIM.svc]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "host of a Service by two names", spec: `mesh: {routes: {gateways: [gw], hosts: [web.VICTIM]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "host of a Service in upper case", spec: `mesh: {routes: {gateways: [gw], hosts: [Web.VICTIM.svc.cluster.local]}}`, rejected: "spec.mesh.routes.hosts[0]"},
	{what: "host of a Service with a final dot", spec: `mesh: {routes: {gateways: [gw], hosts: [web.VICTIM.svc.cluster.local.]}}`, rejected: "spec.mesh.routes.hosts[0]"},
	{what: "wildcard of a namespace", spec: `mesh: {routes: {gateways: [gw], hosts: ["*.VICTIM.svc.cluster.local"]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "wildcard of all Services", spec: `mesh: {routes: {gateways: [gw], hosts: ["*.svc.cluster.local"]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "wildcard of the cluster", spec: `mesh: {routes: {gateways: [gw], hosts: ["*.cluster.local"]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "wildcard of everything", spec: `mesh: {routes: {gateways: [gw], hosts: ["*"]}}`, rejected: "spec.mesh.routes.hosts[0]"},
	{what: "wildcard of a top-level domain", spec: `mesh: {routes: {gateways: [gw], hosts: ["*.com"]}}`, rejected: "spec.mesh.routes.hosts[0]"},
	{what: "host in the whole mesh", spec: `mesh: {routes: {gateways: [mesh], hosts: [shop.example.com]}}`, rejected: `must not contain "mesh"`},
	{what: "host without a gateway", spec: `mesh: {routes: {hosts: [shop.example.com]}}`, rejected: "require each other"},
	{what: "external host for clients in the mesh", spec: `mesh: {routes: {gateways: [gw], hosts: [shop.example.com]}}`, held: onlyOwnHosts},

	// Gateways.
	{what: "gateway of another namespace", spec: `mesh: {routes: {gateways: [VICTIM/gw], hosts: [shop.example.com]}}`, refused: v1alpha1.ReasonGatewayNotAllowed},
	{what: "gateway by its DNS name", spec: `mesh: {routes: {gateways: [gw.VICTIM.svc.cluster.local], hosts: [shop.example.com]}}`, rejected: "spec.mesh.routes.gateways[0]"},
	{what: "gateway in a match", spec: `mesh: {routes: {http: [{match: [{gateways: [VICTIM/gw]}]}]}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "gateway for TCP", spec: `mesh: {routes: {tcp: [{match: [{gateways: [OWN/gw]}]}]}}`, refused: v1alpha1.ReasonInvalidSpec},

	// Destinations.
	{what: "destination", spec: `mesh: {routes: {http: [{route: [{destination: {host: web.VICTIM.svc.cluster.local}}]}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "destination by two names", spec: `mesh: {routes: {http: [{route: [{destination: {host: web.VICTIM}}]}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "destination outside the cluster", spec: `mesh: {routes: {http: [{route: [{destination: {host: example.com}}]}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "second destination", spec: `mesh: {routes: {http: [{route: [{destination: {}, weight: 99}, {destination: {host: web.VICTIM.svc.cluster.local}, weight: 1}]}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "destination of TCP", spec: `mesh: {routes: {tcp: [{route: [{destination: {host: web.VICTIM.svc.cluster.local}}]}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "destination of TLS", spec: `mesh: {routes: {tls: [{match: [{sniHosts: [x.example.com]}], route: [{destination: {host: web.VICTIM.svc.cluster.local}}]}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "server name", spec: `mesh: {routes: {tls: [{match: [{sniHosts: [web.VICTIM.svc.cluster.local]}]}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "mirror", spec: `mesh: {routes: {http: [{mirror: {host: web.VICTIM.svc.cluster.local}}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "second mirror", spec: `mesh: {routes: {http: [{mirrors: [{destination: {}}, {destination: {host: web.VICTIM.svc.cluster.local}}]}]}}`, refused: v1alpha1.ReasonHostNotAllowed},
	{what: "delegate", spec: `mesh: {routes: {http: [{delegate: {name: web, namespace: VICTIM}}]}}`, rejected: "delegate is not supported"},
	{what: "rewritten host", spec: `mesh: {routes: {http: [{rewrite: {authority: web.VICTIM.svc.cluster.local}}]}}`, held: onlyOwnHosts},

	// Clients of other namespaces use the routes only for the host of the own Service.
	{what: "export to a namespace", spec: `mesh: {exportTo: [VICTIM]}`, held: onlyOwnHosts},
	{what: "export to no namespace's name", spec: `mesh: {exportTo: ["VICTIM/web"]}`, rejected: "spec.mesh.exportTo[0]"},
	{what: "route of a namespace's clients", spec: `mesh: {routes: {http: [{match: [{sourceNamespace: VICTIM}], fault: {abort: {httpStatus: 503}}}]}}`, held: onlyOwnHosts},
	{what: "own list of namespaces for routes", spec: `mesh: {routes: {exportTo: ["*"]}}`, rejected: `unknown field "spec.mesh.routes.exportTo"`},
	{what: "host of a traffic policy", spec: `mesh: {trafficPolicy: {host: web.VICTIM.svc.cluster.local}}`, rejected: `unknown field "spec.mesh.trafficPolicy.host"`},

	// Policies.
	{what: "policy with a selector", spec: `mesh: {authorization: [{name: p, action: Deny, rules: [{}], selector: {matchLabels: {app: web}}}]}`, rejected: "unknown field"},
	{what: "policy with a target", spec: `mesh: {authorization: [{name: p, action: Deny, rules: [{}], targetRefs: [{kind: Service, name: web}]}]}`, rejected: "unknown field"},
	{what: "policy with the name of another machine's", spec: `mesh: {authorization: [{name: other.p, action: Deny, rules: [{}]}]}`, rejected: "spec.mesh.authorization[0].name"},
	{what: "clients of all namespaces", spec: `mesh: {allow: [{namespace: "*"}]}`, rejected: "spec.mesh.allow[0].namespace"},
	{what: "clients with any service account of a namespace", spec: `mesh: {allow: [{serviceAccount: "VICTIM/*"}]}`, rejected: "spec.mesh.allow[0].serviceAccount"},
	{what: "clients of another trust domain", spec: `mesh: {allow: [{serviceAccount: "td/VICTIM/web"}]}`, rejected: "spec.mesh.allow[0].serviceAccount"},
	{what: "policy of the whole mesh", namespace: "istio-system", spec: `mesh: {allow: [{namespace: VICTIM}]}`, refused: v1alpha1.ReasonInvalidSpec},

	{what: "waypoint of another namespace without its consent", spec: `mesh: {dataPlane: Ambient, waypoint: {name: w, namespace: VICTIM}}`, held: onlyOwnHosts},
	{what: "waypoint by two names", spec: `mesh: {dataPlane: Ambient, waypoint: {name: VICTIM/w}}`, rejected: "spec.mesh.waypoint.name"},

	// Service accounts.
	{what: "service account of another namespace", spec: `mesh: {identity: {serviceAccountName: theirs}}`, refused: v1alpha1.ReasonServiceAccountNotFound},
	{what: "service account by its namespace", spec: `mesh: {identity: {serviceAccountName: VICTIM/theirs}}`, rejected: "spec.mesh.identity.serviceAccountName"},
	{what: "service account by its user name", spec: `mesh: {identity: {serviceAccountName: "system:serviceaccount:VICTIM:theirs"}}`, rejected: "spec.mesh.identity.serviceAccountName"},
	{what: "service account by its identity", spec: `mesh: {identity: {serviceAccountName: "spiffe://cluster.local/ns/VICTIM/sa/theirs"}}`, rejected: "spec.mesh.identity.serviceAccountName"},
	{what: "namespace of a service account", spec: `mesh: {identity: {serviceAccountName: theirs, namespace: VICTIM}}`, rejected: `unknown field "spec.mesh.identity.namespace"`},
	{what: "service account in the annotation", spec: `virtualMachine: {template: {metadata: {annotations: {meshvm.io/service-account: default}}}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "another service account than KubeVirt's", spec: `{mesh: {identity: {serviceAccountName: default}}, virtualMachine: {template: {spec: {serviceAccountName: theirs}}}}`, refused: v1alpha1.ReasonInvalidSpec},

	// Telemetry.
	{what: "telemetry with a selector", spec: `mesh: {telemetry: {accessLogging: [{disabled: true}], selector: {matchLabels: {app: web}}}}`, rejected: `unknown field "spec.mesh.telemetry.selector"`},
	{what: "telemetry with a target", spec: `mesh: {telemetry: {accessLogging: [{disabled: true}], targetRefs: [{kind: Service, name: web}]}}`, rejected: `unknown field "spec.mesh.telemetry.targetRefs"`},

	// Labels and annotations.
	{what: "label of another machine", spec: `virtualMachine: {template: {metadata: {labels: {meshvm.io/meshed-virtual-machine: other}}}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "label of another Service", spec: `virtualMachine: {template: {metadata: {labels: {meshvm.io/service: other}}}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "label of another machine on the VirtualMachine", spec: `virtualMachineMetadata: {labels: {meshvm.io/meshed-virtual-machine: other}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "label of another machine on the Service", spec: `service: {labels: {meshvm.io/meshed-virtual-machine: other}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "label of a gateway", spec: `virtualMachine: {template: {metadata: {labels: {gateway.networking.k8s.io/gateway-name: gw}}}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "label of a waypoint", spec: `virtualMachine: {template: {metadata: {labels: {istio.io/waypoint-for: all}}}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "another control plane", spec: `virtualMachine: {template: {metadata: {annotations: {sidecar.istio.io/discoveryAddress: "istiod.VICTIM:15012"}}}}`, refused: v1alpha1.ReasonInvalidSpec},
	{what: "no sidecar", spec: `virtualMachine: {template: {metadata: {labels: {sidecar.istio.io/inject: "false"}}}}`, refused: v1alpha1.ReasonInvalidSpec},

	// Patches.
	{what: "patch of the selector", spec: `patches: [{target: Service, merge: {spec: {selector: {app: web}}}}]`, held: refusedPatch("/spec/selector")},
	{what: "patch of the addresses", spec: `patches: [{target: Service, merge: {spec: {externalIPs: [192.0.2.1]}}}]`, held: refusedPatch("/spec/externalIPs")},
	{what: "patch of the hosts", spec: `patches: [{target: VirtualService, merge: {spec: {hosts: [web.VICTIM.svc.cluster.local]}}}]`, held: refusedPatch("/spec/hosts")},
	{what: "patch of a destination", spec: `patches: [{target: VirtualService, json: [{op: replace, path: /spec/http/0/route/0/destination/host, value: web.VICTIM.svc.cluster.local}]}]`, held: refusedPatch("/spec/http/0/route/0/destination/host")},
	{what: "patch with a delegate", spec: `patches: [{target: VirtualService, json: [{op: add, path: /spec/http/0/delegate, value: {name: web, namespace: VICTIM}}]}]`, held: refusedPatch("/spec/http/0/delegate")},
	{what: "patch of the host of a traffic policy", spec: `patches: [{target: DestinationRule, merge: {spec: {host: web.VICTIM.svc.cluster.local}}}]`, held: refusedPatch("/spec/host")},
	{what: "patch of the namespace", spec: `patches: [{target: Service, merge: {metadata: {namespace: VICTIM}}}]`, held: refusedPatch("/metadata/namespace")},
	{what: "patch of the selector of a policy", spec: `patches: [{target: PeerAuthentication, merge: {spec: {selector: null}}}]`, held: refusedPatch("/spec/selector")},
	{what: "patch of an EnvoyFilter", spec: `patches: [{target: EnvoyFilter, merge: {spec: {priority: 1}}}]`, rejected: "Unsupported value"},
	{what: "patch of the virtual machine", spec: `patches: [{target: VirtualMachine, merge: {spec: {running: true}}}]`, rejected: "Unsupported value"},

	// The Service and names.
	{what: "addresses of others for the Service", spec: `service: {externalIPs: [192.0.2.1]}`, rejected: `unknown field "spec.service.externalIPs"`},
	{what: "pods of others for the Service", spec: `service: {selector: {app: web}}`, rejected: `unknown field "spec.service.selector"`},
	{what: "name of another Service for the Service", spec: `service: {type: ExternalName}`, rejected: "Unsupported value"},
	{what: "name of a VirtualService for gateways", name: "other.gateway", rejected: "must be a DNS label"},
	{what: "name of the Service of another user", name: "theirs", held: unchangedService},
	{what: "name of a Service of another namespace", name: "web", held: unchangedVictim},
}

// TestTenancy makes every attempt with one operator, and prints the outcome of each.
func TestTenancy(t *testing.T) {
	s := start(t, func(o *controllers.Options) { o.Patches = configv1alpha1.Enabled })
	s.makeVictims()
	s.makeNamespace("istio-system")
	s.makeServiceAccount(victim, "theirs")
	names, errs := make([]string, len(attempts)), make([]error, len(attempts))
	for i, a := range attempts {
		names[i], errs[i] = s.attempt(a, i)
	}
	for i, a := range attempts {
		t.Run(strings.ReplaceAll(a.what, " ", "_"), func(t *testing.T) {
			sub := *s
			sub.T = t
			sub.outcome(a, names[i], errs[i])
		})
	}
	s.untouched(victim)
	t.Logf("attempts: %d", len(attempts))
}

// makeVictims creates the Services of others.
func (s *suite) makeVictims() {
	s.Helper()
	s.makeNamespace(victim)
	for _, key := range []client.ObjectKey{{Namespace: victim, Name: "web"}, {Namespace: s.namespace, Name: "theirs"}} {
		service := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}}}
		if err := s.Create(s.Context(), service); err != nil {
			s.Fatal(err)
		}
		s.Cleanup(func() { _ = s.Delete(context.WithoutCancel(s.Context()), service) })
	}
}

// attempt creates the MeshedVirtualMachine of an attempt. It returns its name and the
// response of the API server.
func (s *suite) attempt(a attempt, n int) (string, error) {
	s.Helper()
	o := s.web()
	if o.Name = a.name; a.name == "" {
		o.Name = fmt.Sprintf("attempt-%d", n)
	}
	if a.namespace != "" {
		o.Namespace = a.namespace
	}
	o.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind(children.OwnerKind))
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		s.Fatal(err)
	}
	var spec map[string]any
	text := strings.NewReplacer("VICTIM", victim, "OWN", s.namespace).Replace(a.spec)
	if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
		s.Fatal(err)
	}
	overlay(content["spec"].(map[string]any), spec)
	return o.Name, s.Create(s.Context(), &unstructured.Unstructured{Object: content})
}

func overlay(tree, changes map[string]any) {
	for key, value := range changes {
		inner, nested := value.(map[string]any)
		if below, ok := tree[key].(map[string]any); nested && ok {
			overlay(below, inner)
			continue
		}
		tree[key] = value
	}
}

// outcome checks the outcome of an attempt and prints it.
func (s *suite) outcome(a attempt, name string, created error) {
	s.Helper()
	if a.namespace != "" {
		s.namespace = a.namespace
		s.Cleanup(func() {
			_ = s.Delete(context.WithoutCancel(s.Context()), &v1alpha1.MeshedVirtualMachine{ObjectMeta: metav1.ObjectMeta{Namespace: a.namespace, Name: name}})
		})
	}
	switch {
	case a.rejected != "" && created != nil && strings.Contains(created.Error(), a.rejected):
		s.Logf("rejected by the API server: %v", created)
	case a.rejected != "":
		s.Errorf("the response of the API server is %v, want %q", created, a.rejected)
	case created != nil:
		s.Error(created)
	case a.refused != "":
		o := s.awaitMVM(name, want{v1alpha1.ConditionAccepted, no, a.refused})
		accepted := meta.FindStatusCondition(o.Status.Conditions, string(v1alpha1.ConditionAccepted))
		s.Logf("refused by the operator: %s: %s", accepted.Reason, accepted.Message)
		for _, kind := range istioKinds() {
			if _, err := s.read(kind, name); err == nil {
				s.Errorf("%s %s exists", kind.Kind, name)
			}
		}
	case a.held != nil:
		s.eventually("the attempt has no effect", func() error { return a.held(s, name) })
		s.Log("accepted without an effect on others")
	}
}

// onlyOwnHosts returns an error unless the objects of Istio for clients in the mesh have
// only the host of the own Service.
func onlyOwnHosts(s *suite, name string) error {
	own := name + "." + s.namespace + ".svc.cluster.local"
	service, err := s.read(children.VirtualServiceKind, name)
	if err != nil {
		return err
	}
	hosts, _, _ := unstructured.NestedStringSlice(service.Object, "spec", "hosts")
	gateways, _, _ := unstructured.NestedStringSlice(service.Object, "spec", "gateways")
	rule, err := s.read(children.DestinationRuleKind, name)
	if err != nil {
		return err
	}
	host, _, _ := unstructured.NestedString(rule.Object, "spec", "host")
	if !slices.Equal(hosts, []string{own}) || len(gateways) > 0 || host != own {
		return fmt.Errorf("hosts %v, gateways %v, host %s", hosts, gateways, host)
	}
	return nil
}

// refusedPatch returns a check that a patch is refused because of a field.
func refusedPatch(field string) func(*suite, string) error {
	return func(s *suite, name string) error {
		o := s.mvm(name)
		c := meta.FindStatusCondition(o.Status.Conditions, string(v1alpha1.ConditionPatched))
		if c == nil || !strings.HasPrefix(c.Message, "spec.patches[0]: "+field+": ") {
			return fmt.Errorf("condition Patched is %+v", c)
		}
		return (want{v1alpha1.ConditionPatched, no, v1alpha1.ReasonPatchRefused}).check(o.Status.Conditions, o.Generation)
	}
}

// unchangedService returns an error unless the Service that another user created remains.
func unchangedService(s *suite, name string) error {
	o := s.mvm(name)
	if err := (want{v1alpha1.ConditionServiceReady, no, v1alpha1.ReasonConflict}).check(o.Status.Conditions, o.Generation); err != nil {
		return err
	}
	service, err := s.read(children.ServiceKind, name)
	if err == nil && (len(service.GetOwnerReferences()) > 0 || len(service.GetLabels()) > 0) {
		err = errors.New("the Service has an owner")
	}
	return err
}

// unchangedVictim returns an error unless the Service of the other namespace remains.
func unchangedVictim(s *suite, name string) error {
	service := &corev1.Service{}
	if err := s.Get(s.Context(), client.ObjectKey{Namespace: victim, Name: name}, service); err != nil {
		return err
	}
	if len(service.OwnerReferences) > 0 || len(service.Labels) > 0 {
		return errors.New("the Service has an owner")
	}
	return onlyOwnHosts(s, name)
}

// istioKinds are the kinds of Istio of which the operator creates objects.
func istioKinds() []schema.GroupVersionKind {
	var out []schema.GroupVersionKind
	for _, k := range children.Kinds() {
		if k.Upstream == children.UpstreamIstio {
			out = append(out, k.GroupVersionKind)
		}
	}
	return out
}

// untouched checks that the operator created no object in a namespace.
func (s *suite) untouched(namespace string) {
	s.Helper()
	for _, k := range children.Kinds() {
		list := &unstructured.UnstructuredList{}
		list.SetGroupVersionKind(k.GroupVersion().WithKind(k.Kind + "List"))
		if err := s.List(s.Context(), list, client.InNamespace(namespace), client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}); err != nil {
			s.Fatal(err)
		}
		for i := range list.Items {
			s.Errorf("%s %s/%s exists", k.Kind, namespace, list.Items[i].GetName())
		}
	}
}
