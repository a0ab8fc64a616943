// SPDX-License-Identifier: Apache-2.0

package meshservice

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Limit is the number of MeshedVirtualMachines that can share a Service. Each of them
// computes the state of all, so the cost grows with the square of their number.
const Limit = 32

// ByAge compares two MeshedVirtualMachines: the oldest first, then by name.
func ByAge(a, b *v1alpha1.MeshedVirtualMachine) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Name, b.Name))
}

// withinLimit returns the oldest members, and records the conflicts of the others. A new
// member never displaces an older one, not even as the lead.
func (s *Service) withinLimit(members []Member) []Member {
	out := slices.Clone(members)
	slices.SortFunc(out, func(a, b Member) int { return ByAge(a.MVM, b.MVM) })
	for _, m := range out[min(Limit, len(out)):] {
		s.Conflicts[m.MVM.Name] = fmt.Sprintf("%d older MeshedVirtualMachines have service.name %s, which is the limit: delete one of them, or set another service.name on a new object", Limit, s.Name)
	}
	return out[:min(Limit, len(out))]
}

// ofOneKind returns the members whose Service is headless if that of the first owner of the
// existing Service is headless, and records the conflicts of the others. Without an owner,
// the lead determines it. A Service cannot be changed to or from headless, so a member of
// the other kind does not belong to the Service, even if its guest runs.
func (s *Service) ofOneKind(ordered []Member) []Member {
	i := slices.IndexFunc(ordered, func(m Member) bool { return m.Owner })
	if i < 0 {
		i = slices.IndexFunc(ordered, func(m Member) bool { return !m.Rejected || len(m.Pods) > 0 })
	}
	if i < 0 {
		return ordered
	}
	first := ordered[i].MVM
	return slices.DeleteFunc(slices.Clone(ordered), func(m Member) bool {
		other := m.MVM.Spec.IsHeadless() != first.Spec.IsHeadless()
		if other {
			s.Conflicts[m.MVM.Name] = fmt.Sprintf("spec.service.type is %s, and %s of %s: a Service cannot be changed to or from Headless; create the object again with the same kind of type, or with another service.name", typeOf(m.MVM), typeOf(first), first.Name)
		}
		return other
	})
}

func typeOf(mvm *v1alpha1.MeshedVirtualMachine) v1alpha1.ServiceType {
	return cmp.Or(mvm.Spec.Service.Type, v1alpha1.ServiceTypeClusterIP)
}

// withoutConflicts returns the members whose specs are accepted and do not contradict
// those of the members before them, and records the conflicts of the others. The lead is
// the first member that is accepted or runs.
func (s *Service) withoutConflicts(ordered []Member) []Member {
	var out, retained []Member
	var lead *Member
	p := percentages{of: map[string]int32{}}
	for i, m := range ordered {
		message := ""
		if !m.Rejected {
			if message = differs(lead, m); message == "" {
				message = p.add(m)
			}
		}
		if message != "" {
			s.Conflicts[m.MVM.Name] = message
		}
		switch {
		case !m.Rejected && message == "":
			out = append(out, m)
		case len(m.Pods) > 0:
			retained = append(retained, m)
		default:
			continue
		}
		if lead == nil {
			lead = &ordered[i]
		}
	}
	open := slices.ContainsFunc(out, func(m Member) bool { _, set := p.of[VersionOf(m)]; return !set })
	// A single version has the whole traffic.
	if len(p.of) > 1 && p.sum == 0 && !open && !slices.ContainsFunc(retained, func(m Member) bool { return hadTraffic(*lead, m) }) {
		last := out[len(out)-1].MVM.Name
		s.Conflicts[last] = "service.trafficPercent is 0 for every version: set a positive percentage on one of them"
		out = out[:len(out)-1]
	}
	return out
}

// hadTraffic reports whether the last accepted percentage of the version of a member is
// positive. A lead that did not share the Service before had the whole traffic.
func hadTraffic(lead, m Member) bool {
	if len(lead.MVM.Status.Service.Versions) == 0 {
		return lead.MVM == m.MVM
	}
	return lastPercent(lead.MVM, VersionOf(m)) > 0
}

// percentages are those of the versions with a percentage, and their sum.
type percentages struct {
	of  map[string]int32
	sum int32
}

// add adds the percentage of a member, or returns a message if it contradicts those of the
// members before it.
func (p *percentages) add(m Member) string {
	percent, version := m.MVM.Spec.Service.TrafficPercent, VersionOf(m)
	if percent == nil {
		return ""
	}
	other, set := p.of[version]
	switch {
	case set && other != *percent:
		return fmt.Sprintf("another member with version %s has service.trafficPercent %d: set the same percentage on all members of the version", version, other)
	case !set && p.sum+*percent > total:
		return fmt.Sprintf("the sum of service.trafficPercent of all versions is %d: reduce the percentages, so that the sum is at most 100", p.sum+*percent)
	case !set:
		p.of[version], p.sum = *percent, p.sum+*percent
	}
	return ""
}

// differs returns a message if a member cannot share the Service of the lead, which is nil
// for the lead. A lead whose spec is not accepted cannot be compared.
func differs(lead *Member, m Member) string {
	if lead == nil || lead.Rejected {
		return ""
	}
	if a, b := lead.MVM.Spec.Mesh.DataPlaneOrDefault(), m.MVM.Spec.Mesh.DataPlaneOrDefault(); a != b {
		return fmt.Sprintf("mesh.dataPlane is %s, and %s of %s, the lead of the Service: set the same data plane, or another service.name on a new object", b, a, lead.MVM.Name)
	}
	if lead.MVM.Spec.Mesh.Waypoint.IsSet() {
		return fmt.Sprintf("mesh.waypoint of %s, the lead of the Service, does not support a shared Service: remove it there, or set another service.name on a new object", lead.MVM.Name)
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
	add("service.trafficPercent", b.Service.TrafficPercent != nil && a.IsHeadless())
	add("mesh.exportTo", len(b.Mesh.ExportTo) > 0 && !slices.Equal(a.Mesh.ExportTo, b.Mesh.ExportTo))
	add("mesh.trafficPolicy", b.Mesh.TrafficPolicy != nil && !proto.Equal(a.Mesh.TrafficPolicy, b.Mesh.TrafficPolicy))
	add("mesh.routes", !sameRoutes(b.Mesh.Routes, v1alpha1.RoutesSpec{}) && !sameRoutes(b.Mesh.Routes, a.Mesh.Routes))
	add("patches", servicePatches(b.Patches) && !reflect.DeepEqual(a.Patches, b.Patches))
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

// servicePatches reports whether one of the patches changes an object of the Service.
func servicePatches(list []v1alpha1.Patch) bool {
	return slices.ContainsFunc(list, func(p v1alpha1.Patch) bool { return p.Target != "PeerAuthentication" })
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
