// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/meshpolicy"
	"meshvm.io/meshvm/internal/meshroutes"
)

// GatewayKind is a kind that the operator only reads, and only if a spec names a Gateway.
var GatewayKind = schema.GroupVersionKind{Group: "networking.istio.io", Version: "v1", Kind: "Gateway"}

// gateways is the kind as a dependency.
var gateways = dependency{GatewayKind, children.UpstreamIstio, "gateways.networking.istio.io"}

// gatherGateways reads the Gateways that the lead of the Service names. It starts the watch
// of Gateways if this is the first spec that names one. Those of a lead whose spec is not
// accepted are not read: the lead may not be permitted to use them.
func (r *Reconciler) gatherGateways(ctx context.Context, s *scope) error {
	names := meshroutes.Gateways(s.lead())
	if len(names) == 0 || s.leadRejected() {
		return nil
	}
	served, soon, err := r.upstream.serves(ctx, gateways)
	if err != nil {
		return err
	}
	s.retrySoon = s.retrySoon || soon
	if served {
		unread, err := r.upstream.unread(ctx, gateways)
		if err != nil {
			return err
		}
		if unread != nil {
			s.unread = cmp.Or(s.unread, unread)
			return nil
		}
	}
	s.gateways = map[string]*networkingv1.Gateway{}
	for _, name := range names {
		if !served {
			break
		}
		u := cacheindex.Object(GatewayKind)
		namespace, own, _ := strings.Cut(name, "/")
		switch err := r.Client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: own}, u, client.UnsafeDisableDeepCopy); {
		case apierrors.IsNotFound(err):
			continue
		case err != nil:
			return fmt.Errorf("read Gateway %s: %w", name, err)
		}
		if s.gateways[name], err = decode[networkingv1.Gateway](u); err != nil {
			return err
		}
	}
	return nil
}

// leadRejected reports whether the spec of the lead of the Service is not accepted.
func (s *scope) leadRejected() bool {
	for _, m := range s.service.Members {
		if m.MVM.Name == s.lead().Name {
			return m.Rejected
		}
	}
	return s.invalid != nil
}

// gatewayProblem returns a reason and a message if a Gateway that the lead of the Service
// names does not exist, or if a host is refused. Each Gateway must permit at least one of
// the hosts, and each host must be permitted by at least one of the Gateways.
func (s *scope) gatewayProblem() (reason v1alpha1.ConditionReason, message string) {
	if s.gateways == nil {
		return "", ""
	}
	lead := s.lead()
	spec := lead.Spec.Mesh.Routes
	p := meshpolicy.Published{
		Namespace: lead.Namespace, Hosts: spec.Hosts,
		HTTP: slices.ContainsFunc(lead.Spec.Ports, v1alpha1.Port.IsMeshedHTTP),
		TLS:  slices.ContainsFunc(lead.Spec.Ports, v1alpha1.Port.IsMeshedTLS),
	}
	permitted := map[string]bool{}
	all := meshroutes.Gateways(lead)
	for _, name := range all {
		g := s.gateways[name]
		if g == nil {
			return v1alpha1.ReasonGatewayNotFound, fmt.Sprintf("Gateway %s, which mesh.routes.gateways of MeshedVirtualMachine %s names, does not exist: create it, or correct the name",
				name, lead.Name)
		}
		hosts := p.At(g)
		if len(hosts) == 0 {
			return v1alpha1.ReasonGatewayRefusesHost, refusal("Gateway "+name+" has no server", strings.Join(spec.Hosts, ", "), lead, p)
		}
		for _, h := range hosts {
			permitted[h] = true
		}
	}
	for _, h := range spec.Hosts {
		if !permitted[h] {
			return v1alpha1.ReasonGatewayRefusesHost, refusal("none of the Gateways "+strings.Join(all, ", ")+" has a server", h, lead, p)
		}
	}
	return "", ""
}

func refusal(subject, hosts string, lead *v1alpha1.MeshedVirtualMachine, p meshpolicy.Published) string {
	var protocols []string
	if p.HTTP {
		protocols = append(protocols, "HTTP, or HTTPS that the gateway terminates")
	}
	if p.TLS {
		protocols = append(protocols, "TLS in mode PASSTHROUGH")
	}
	return fmt.Sprintf("%s for host %s of namespace %s, so that requests for it do not reach the guest: add the host to the hosts of a server with protocol %s, without a namespace or with the prefix %s/, or correct mesh.routes.hosts of MeshedVirtualMachine %s",
		subject, hosts, lead.Namespace, strings.Join(protocols, ", or "), lead.Namespace, lead.Name)
}

// gatewayChanged maps a Gateway to the MeshedVirtualMachines that name it, and to the others
// of their Services.
func (r *Reconciler) gatewayChanged(ctx context.Context, o client.Object) []reconcile.Request {
	return r.withPeers(ctx, r.inNamespace(ctx, "", client.MatchingFields{cacheindex.Gateway: o.GetNamespace() + "/" + o.GetName()}))
}
