// SPDX-License-Identifier: Apache-2.0

package meshservice

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"meshvm.io/meshvm/api/v1alpha1"
)

// withoutConflicts returns the members whose specs are accepted and do not contradict
// those of the members before them, and records the conflicts of the others.
func (s *Service) withoutConflicts(ordered []Member) []Member {
	var out []Member
	percents := map[string]int32{} // Of the versions with a percentage.
	sum := int32(0)
	for _, m := range ordered {
		if m.Rejected {
			continue
		}
		if message := differs(ordered[0], m); message != "" {
			s.Conflicts[m.MVM.Name] = message
			continue
		}
		percent, version := m.MVM.Spec.Service.TrafficPercent, VersionOf(m)
		if percent == nil {
			out = append(out, m)
			continue
		}
		other, set := percents[version]
		switch {
		case set && other != *percent:
			s.Conflicts[m.MVM.Name] = fmt.Sprintf("another member with version %s has service.trafficPercent %d: set the same percentage on all members of the version", version, other)
			continue
		case !set && sum+*percent > total:
			s.Conflicts[m.MVM.Name] = fmt.Sprintf("the sum of service.trafficPercent of all versions is %d: reduce the percentages, so that the sum is at most 100", sum+*percent)
			continue
		case !set:
			percents[version], sum = *percent, sum+*percent
		}
		out = append(out, m)
	}
	open := slices.ContainsFunc(out, func(m Member) bool { _, set := percents[VersionOf(m)]; return !set })
	if sum == 0 && !open && len(out) > 0 {
		last := out[len(out)-1].MVM.Name
		s.Conflicts[last] = "service.trafficPercent is 0 for every version: set a positive percentage on one of them"
		out = out[:len(out)-1]
	}
	return out
}

// differs returns a message if a member cannot share the Service of the lead. A lead whose
// spec is not accepted cannot be compared.
func differs(lead, m Member) string {
	if lead.Rejected || lead.MVM == m.MVM {
		return ""
	}
	if a, b := lead.MVM.Spec.Mesh.DataPlaneOrDefault(), m.MVM.Spec.Mesh.DataPlaneOrDefault(); a != b {
		return fmt.Sprintf("mesh.dataPlane is %s, and %s of %s, the lead of the Service: set the same data plane, or another service.name on a new object", b, a, lead.MVM.Name)
	}
	has, want := portKeys(m.MVM), portKeys(lead.MVM)
	for _, p := range m.MVM.Spec.Ports {
		if want[p.Name] != has[p.Name] {
			return fmt.Sprintf("port %q differs from %s, the lead of the Service, in existence, port, targetPort, protocol, appProtocol or via: make spec.ports identical", p.Name, lead.MVM.Name)
		}
	}
	for _, p := range lead.MVM.Spec.Ports {
		if _, ok := has[p.Name]; !ok {
			return fmt.Sprintf("port %q of %s, the lead of the Service, is missing: make spec.ports identical", p.Name, lead.MVM.Name)
		}
	}
	return ""
}

// portKey contains the fields of a port that must be identical.
type portKey struct {
	port, target int32
	protocol     v1alpha1.PortProtocol
	appProtocol  string
	via          v1alpha1.PortVia
}

func portKeys(mvm *v1alpha1.MeshedVirtualMachine) map[string]portKey {
	out := map[string]portKey{}
	for _, p := range mvm.Spec.Ports {
		out[p.Name] = portKey{p.Port, p.TargetPortOrDefault(), p.ProtocolOrDefault(), p.AppProtocolOrDefault(), p.ViaOrDefault()}
	}
	return out
}

// WithoutEffect returns the fields of a member that have no effect because the lead has
// other values. A field that the member does not set is not listed.
func WithoutEffect(lead, mvm *v1alpha1.MeshedVirtualMachine) []string {
	if lead == mvm {
		return nil
	}
	var out []string
	add := func(field string, differs bool) {
		if differs {
			out = append(out, field)
		}
	}
	a, b := lead.Spec, mvm.Spec
	for _, f := range serviceFields(a.Service, b.Service) {
		add("service."+f.name, f.differs)
	}
	add("mesh.exportTo", len(b.Mesh.ExportTo) > 0 && !slices.Equal(a.Mesh.ExportTo, b.Mesh.ExportTo))
	add("mesh.trafficPolicy", b.Mesh.TrafficPolicy != nil && !proto.Equal(a.Mesh.TrafficPolicy, b.Mesh.TrafficPolicy))
	add("mesh.routes", !sameRoutes(b.Mesh.Routes, v1alpha1.RoutesSpec{}) && !sameRoutes(b.Mesh.Routes, a.Mesh.Routes))
	for _, p := range b.Ports {
		i := slices.IndexFunc(a.Ports, func(q v1alpha1.Port) bool { return q.Name == p.Name })
		if i < 0 {
			continue
		}
		q := a.Ports[i]
		add("timeout of port "+p.Name, p.Timeout != "" && p.Timeout != q.Timeout)
		add("retries of port "+p.Name, p.Retries != nil && !proto.Equal(p.Retries, q.Retries))
		add("nodePort of port "+p.Name, p.NodePort != 0 && p.NodePort != q.NodePort)
	}
	return out
}

// sameRoutes compares routes as JSON, because Istio's types contain internal fields.
func sameRoutes(a, b v1alpha1.RoutesSpec) bool {
	one, errOne := json.Marshal(a)
	two, errTwo := json.Marshal(b)
	return errOne == nil && errTwo == nil && string(one) == string(two)
}

type fieldDifference struct {
	name    string
	differs bool
}

func serviceFields(a, b v1alpha1.ServiceSpec) []fieldDifference {
	return []fieldDifference{
		// ClusterIP is the default, which the API server sets.
		{"type", b.Type != "" && b.Type != v1alpha1.ServiceTypeClusterIP && b.Type != a.Type},
		{"ipFamilyPolicy", b.IPFamilyPolicy != "" && b.IPFamilyPolicy != a.IPFamilyPolicy},
		{"labels", len(b.Labels) > 0 && !maps.Equal(a.Labels, b.Labels)},
		{"annotations", len(b.Annotations) > 0 && !maps.Equal(a.Annotations, b.Annotations)},
		{"externalTrafficPolicy", b.ExternalTrafficPolicy != "" && b.ExternalTrafficPolicy != a.ExternalTrafficPolicy},
		{"internalTrafficPolicy", b.InternalTrafficPolicy != "" && b.InternalTrafficPolicy != a.InternalTrafficPolicy},
		{"sessionAffinity", b.SessionAffinity != "" && b.SessionAffinity != a.SessionAffinity},
		{"loadBalancerClass", b.LoadBalancerClass != "" && b.LoadBalancerClass != a.LoadBalancerClass},
		{"loadBalancerSourceRanges", len(b.LoadBalancerSourceRanges) > 0 && !slices.Equal(a.LoadBalancerSourceRanges, b.LoadBalancerSourceRanges)},
		{"publishNotReadyAddresses", b.PublishNotReadyAddresses != nil && (a.PublishNotReadyAddresses == nil || *a.PublishNotReadyAddresses != *b.PublishNotReadyAddresses)},
	}
}
