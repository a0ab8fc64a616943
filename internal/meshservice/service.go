// SPDX-License-Identifier: Apache-2.0

// Package meshservice computes the state of a Service that several
// MeshedVirtualMachines share: the lead, conflicts between the members, and the
// percentages of their versions. It is pure.
package meshservice

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
)

// Member is a MeshedVirtualMachine of a Service with the state of its guest.
type Member struct {
	// MVM is the MeshedVirtualMachine. It is not being deleted.
	MVM *v1alpha1.MeshedVirtualMachine
	// Pods are the live virt-launcher pods of the guest, oldest first.
	Pods []corev1.Pod
	// Programmed contains the names of the pods whose rules were verified.
	Programmed map[string]bool
	// Rejected is set if the spec of the member alone is not accepted.
	Rejected bool
	// Owner is set if the member is an owner of the existing Service.
	Owner bool
}

// Service is the state of a Service.
type Service struct {
	// Name is the name of the Service.
	Name string
	// Members are the members whose guests belong to the Service, the lead first and
	// then the oldest. A member whose spec is not accepted belongs to it only
	// while its guest runs. A member beyond the Limit, or of the other kind of Service
	// (headless or not), does not belong to it.
	Members []Member
	// Conflicts are messages about the members whose specs contradict others, by
	// the names of the members.
	Conflicts map[string]string
	// Retained is set if the percentages are those of the last accepted specs.
	Retained bool
	// Versions are the versions of the members, sorted by name.
	Versions []Version
	// Recheck is the time after which the percentages can change without another
	// event, or 0.
	Recheck time.Duration
}

// Version is a version of the members of a Service.
type Version struct {
	Name string
	// Declared and Effective are percentages. Both sums are 100.
	Declared, Effective int32
	// Serving is set if a guest of the version serves.
	Serving bool

	keep  bool
	since time.Time
}

// Alone returns the Service of one MeshedVirtualMachine.
func Alone(mvm *v1alpha1.MeshedVirtualMachine, pods []corev1.Pod) Service {
	return Service{Name: mvm.ServiceName(), Members: []Member{{MVM: mvm, Pods: pods}}}
}

// Compute returns the state of the Service with the name from its members in any order.
func Compute(name string, members []Member, now time.Time) Service {
	s := Service{Name: name, Conflicts: map[string]string{}}
	ordered := s.ofOneKind(Order(name, s.withinLimit(members)))
	accepted := s.withoutConflicts(ordered)
	for _, m := range ordered {
		if rejected := m.Rejected || s.Conflicts[m.MVM.Name] != ""; !rejected || len(m.Pods) > 0 {
			s.Members = append(s.Members, m)
			s.Retained = s.Retained || rejected
		}
	}
	if len(s.Members) < 2 {
		s.Retained = false
		return s
	}
	s.Versions = s.versions(accepted)
	s.shift(now)
	return s
}

// Order returns the members in the order of their precedence: the one with the name of
// the Service, then the oldest, then by name.
func Order(name string, members []Member) []Member {
	out := slices.Clone(members)
	slices.SortFunc(out, func(a, b Member) int {
		switch {
		case a.MVM.Name == b.MVM.Name:
			return 0
		case a.MVM.Name == name:
			return -1
		case b.MVM.Name == name:
			return 1
		}
		return ByAge(a.MVM, b.MVM)
	})
	return out
}

// Lead returns the MeshedVirtualMachine whose settings apply to the Service.
func (s Service) Lead() *v1alpha1.MeshedVirtualMachine { return s.Members[0].MVM }

// Shared reports whether the Service has several members.
func (s Service) Shared() bool { return len(s.Members) > 1 }

// Owners returns the members as owners of the objects of the Service, the lead first.
func (s Service) Owners() []*v1alpha1.MeshedVirtualMachine {
	out := make([]*v1alpha1.MeshedVirtualMachine, 0, len(s.Members))
	for _, m := range s.Members {
		out = append(out, m.MVM)
	}
	return out
}

// SelectsAll reports whether the Service selects the pods of all members by its label
// alone. It does not while the running guest of the lead does not have the label, because
// the lead would lose its traffic until its next start.
func (s Service) SelectsAll() bool {
	return s.Shared() && !slices.ContainsFunc(s.Members[0].Pods, func(p corev1.Pod) bool { return p.Labels[v1alpha1.LabelService] != s.Name })
}

// VersionOf returns the version of a member: that of its oldest ready pod, or else that of
// its oldest pod, or else that of the spec. A pod has the version of its start.
func VersionOf(m Member) string {
	version := ""
	for i := range m.Pods {
		if v := m.Pods[i].Labels[v1alpha1.LabelVersion]; len(validation.IsDNS1123Label(v)) == 0 {
			if launcherpod.Ready(&m.Pods[i]) {
				return v
			}
			version = cmp.Or(version, v)
		}
	}
	return cmp.Or(version, m.MVM.Spec.VersionOrDefault())
}

// Splits reports whether the routes distribute the traffic to several versions.
func (s Service) Splits() bool { return len(s.Versions) > 1 && !s.Lead().Spec.IsHeadless() }

// Shifted returns the versions whose traffic other versions receive.
func (s Service) Shifted() []Version {
	var out []Version
	if s.Splits() {
		for _, v := range s.Versions {
			if v.Effective < v.Declared {
				out = append(out, v)
			}
		}
	}
	return out
}
