// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// TestEgress limits the destinations of a guest, reverts changes of another client that
// open further destinations, and removes the field.
func TestEgress(t *testing.T) {
	s := start(t)
	external := func(name, host string) v1alpha1.ExternalService {
		return v1alpha1.ExternalService{Name: name, Hosts: []string{host}, Ports: []v1alpha1.ExternalPort{{Number: 443, Protocol: "TLS"}}}
	}
	o := s.web()
	o.Spec.Mesh.Egress = v1alpha1.EgressSpec{
		Outbound: v1alpha1.OutboundModeRegistryOnly,
		Services: []v1alpha1.ExternalService{external("pay", "api.pay.example.com"), external("mail", "mail.example.com")},
	}
	s.converge(o)
	limited := map[string]any{
		"workloadSelector":      map[string]any{"labels": map[string]any{v1alpha1.LabelMeshedVirtualMachine: "web"}},
		"egress":                []any{map[string]any{"hosts": []any{"./*", "istio-system/*"}}},
		"outboundTrafficPolicy": map[string]any{},
	}
	await := func(kind schema.GroupVersionKind, name string, want map[string]any) {
		s.Helper()
		s.eventually(kind.Kind+" "+name+" has its spec", func() error {
			u, err := s.read(kind, name)
			if err != nil {
				return err
			}
			return differs(want, u.Object["spec"])
		})
	}
	absent := func(kind schema.GroupVersionKind, name string) {
		s.Helper()
		s.eventually(kind.Kind+" "+name+" is deleted", func() error {
			_, err := s.read(kind, name)
			if apierrors.IsNotFound(err) {
				return nil
			}
			return errors.Join(err, errors.New("it exists"))
		})
	}
	entry := func(host string) map[string]any {
		return map[string]any{
			"hosts": []any{host}, "exportTo": []any{"."}, "resolution": "DNS",
			"ports": []any{map[string]any{"name": "tls-443", "number": int64(443), "protocol": "TLS"}},
		}
	}
	await(children.SidecarKind, "web", limited)
	await(children.ServiceEntryKind, "web.pay", entry("api.pay.example.com"))
	await(children.ServiceEntryKind, "web.mail", entry("mail.example.com"))

	for name, change := range map[string]func(sidecar, service map[string]any){
		"the mode": func(sidecar, _ map[string]any) {
			sidecar["outboundTrafficPolicy"] = map[string]any{"mode": "ALLOW_ANY"}
		},
		"no mode":                func(sidecar, _ map[string]any) { delete(sidecar, "outboundTrafficPolicy") },
		"the selector":           func(sidecar, _ map[string]any) { delete(sidecar, "workloadSelector") },
		"export to all":          func(_, service map[string]any) { service["exportTo"] = []any{"*"} },
		"another host":           func(_, service map[string]any) { service["hosts"] = []any{"other.example.com"} },
		"endpoints of a service": func(_, service map[string]any) { service["endpoints"] = []any{map[string]any{"address": "192.0.2.1"}} },
	} {
		t.Run(name, func(*testing.T) {
			for _, o := range []struct {
				kind schema.GroupVersionKind
				name string
			}{{children.SidecarKind, "web"}, {children.ServiceEntryKind, "web.pay"}} {
				before, err := s.read(o.kind, o.name)
				if err != nil {
					s.Fatal(err)
				}
				after := before.DeepCopy()
				spec := after.Object["spec"].(map[string]any)
				if o.kind == children.SidecarKind {
					change(spec, map[string]any{})
				} else {
					change(map[string]any{}, spec)
				}
				if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
					s.Fatal(err)
				}
			}
			await(children.SidecarKind, "web", limited)
			await(children.ServiceEntryKind, "web.pay", entry("api.pay.example.com"))
		})
	}

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Mesh.Egress.Outbound = v1alpha1.OutboundModeAllowAny
		spec.Mesh.Egress.Services = spec.Mesh.Egress.Services[1:]
	})
	absent(children.ServiceEntryKind, "web.pay")
	limited["outboundTrafficPolicy"] = map[string]any{"mode": "ALLOW_ANY"}
	await(children.SidecarKind, "web", limited)

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Mesh.Egress = v1alpha1.EgressSpec{} })
	absent(children.ServiceEntryKind, "web.mail")
	absent(children.SidecarKind, "web")
	s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
}
