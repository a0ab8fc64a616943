// SPDX-License-Identifier: Apache-2.0

package meshservice

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/launcherpod"
)

// total is the sum of all percentages.
const total = 100

// Settle is the time for which a version must serve before its traffic is moved back. A
// version that served before, according to the status of the lead, does not wait: a live
// migration replaces its pod.
const Settle = 30 * time.Second

// versions returns the versions of the members with their declared percentages, which
// follow from the specs of the accepted members. If a member that belongs to the Service is
// not accepted, they are the percentages of the last accepted specs, which the status of
// the lead contains.
func (s *Service) versions(accepted []Member) []Version {
	index := map[string]int{}
	var out []Version
	for _, m := range s.Members {
		name := VersionOf(m)
		i, ok := index[name]
		if !ok {
			i = len(out)
			index[name], out = i, append(out, Version{Name: name})
		}
		out[i].keep = out[i].keep || m.MVM.Spec.Service.WhenUnreadyOrDefault() == v1alpha1.WhenUnreadyKeep
		if since, serves := s.serves(m, name); serves && (!out[i].Serving || since.Before(out[i].since)) {
			out[i].Serving, out[i].since = true, since
		}
	}
	shares := s.last(out)
	if shares == nil {
		shares = declared(out, accepted)
	}
	for i, percent := range apportion(shares) {
		out[i].Declared, out[i].Effective = percent, percent
	}
	slices.SortFunc(out, func(a, b Version) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// last returns the shares of the versions in the status of the lead, or nil if all specs are
// accepted. If the status contains none of the versions, the lead did not share the Service
// before, and its version has the whole traffic.
func (s *Service) last(versions []Version) []float64 {
	if !s.Retained {
		return nil
	}
	shares, sum := make([]float64, len(versions)), 0.0
	for i, v := range versions {
		shares[i] = float64(lastPercent(s.Lead(), v.Name))
		sum += shares[i]
	}
	if i := slices.IndexFunc(versions, func(v Version) bool { return v.Name == VersionOf(s.Members[0]) }); sum == 0 {
		shares[i] = total
	}
	return shares
}

// lastPercent returns the declared percentage of a version in the status of the lead.
func lastPercent(lead *v1alpha1.MeshedVirtualMachine, version string) int32 {
	for _, v := range lead.Status.Service.Versions {
		if v.Version == version {
			return ptr.Deref(v.DeclaredPercent, 0)
		}
	}
	return 0
}

// declared returns the shares of the versions according to the specs. Versions without a
// percentage share the rest by the number of their members.
func declared(versions []Version, accepted []Member) []float64 {
	shares, set, count := make([]float64, len(versions)), make([]bool, len(versions)), make([]float64, len(versions))
	rest, open := float64(total), 0.0
	for _, m := range accepted {
		i := slices.IndexFunc(versions, func(v Version) bool { return v.Name == VersionOf(m) })
		if i < 0 {
			continue
		}
		count[i]++
		if percent := m.MVM.Spec.Service.TrafficPercent; percent != nil && !set[i] {
			shares[i], set[i] = float64(*percent), true
			rest -= shares[i]
		}
	}
	for i := range versions {
		if !set[i] {
			open += count[i]
		}
	}
	for i := range versions {
		if !set[i] && open > 0 {
			shares[i] = rest * count[i] / open
		}
	}
	return shares
}

// serves reports whether the guest of a member serves in a pod of the version, and since
// when. Its pod is ready, selected by the Service, and has verified rules.
func (s *Service) serves(m Member, version string) (since time.Time, serves bool) {
	for i := range m.Pods {
		p := &m.Pods[i]
		if p.Labels[v1alpha1.LabelVersion] != version || !s.selects(m, p) || !m.Programmed[p.Name] || !p.DeletionTimestamp.IsZero() {
			continue
		}
		if t, ready := launcherpod.ReadySince(p); ready && (!serves || t.Before(since)) {
			since, serves = t, true
		}
	}
	return since, serves
}

// selects reports whether the Service selects a pod of a member.
func (s *Service) selects(m Member, p *corev1.Pod) bool {
	if s.SelectsAll() {
		return p.Labels[v1alpha1.LabelService] == s.Name
	}
	return m.MVM.Name == s.Lead().Name
}

// shift moves the percentages of versions that do not serve to the versions that serve.
func (s *Service) shift(now time.Time) {
	receives := s.receivers(now)
	for i, v := range s.Versions {
		if wait := v.since.Add(Settle).Sub(now); v.Serving && !receives[i] && (s.Recheck == 0 || wait < s.Recheck) {
			s.Recheck = max(wait, time.Second)
		}
	}
	shares, received := make([]float64, len(s.Versions)), 0.0
	moved := 0.0
	for i, v := range s.Versions {
		switch {
		case receives[i]:
			received += float64(v.Declared)
			shares[i] = float64(v.Declared)
		case v.keep:
			shares[i] = float64(v.Declared)
		default:
			moved += float64(v.Declared)
		}
	}
	if moved == 0 {
		return
	}
	if received == 0 {
		return // The declared percentages remain.
	}
	for i := range s.Versions {
		if receives[i] {
			shares[i] += moved * shares[i] / received
		}
	}
	for i, percent := range apportion(shares) {
		s.Versions[i].Effective = percent
	}
}

// receivers returns the versions that receive the traffic of others: those that have
// served for the time Settle or, if no such version has traffic, those that serve.
func (s *Service) receivers(now time.Time) []bool {
	settled, serving := make([]bool, len(s.Versions)), make([]bool, len(s.Versions))
	found := false
	for i, v := range s.Versions {
		serving[i] = v.Serving
		settled[i] = v.Serving && (now.Sub(v.since) >= Settle || s.served(v.Name))
		found = found || settled[i] && v.Declared > 0
	}
	if found {
		return settled
	}
	return serving
}

// served reports whether a version received its traffic, according to the status of the
// lead.
func (s *Service) served(name string) bool {
	return slices.ContainsFunc(s.Lead().Status.Service.Versions, func(v v1alpha1.ServiceVersionStatus) bool {
		return v.Version == name && ptr.Deref(v.Serving, false) && ptr.Deref(v.EffectivePercent, 0) >= ptr.Deref(v.DeclaredPercent, 0)
	})
}

// apportion returns integers with the sum total that have the proportions of the shares, by
// the method of the largest remainder. Of equal remainders, the first has precedence. If
// all shares are 0, they are treated as equal.
func apportion(shares []float64) []int32 {
	sum := 0.0
	for _, s := range shares {
		sum += s
	}
	type part struct {
		index     int
		remainder float64
	}
	out, parts, rest := make([]int32, len(shares)), make([]part, 0, len(shares)), int32(total)
	for i, s := range shares {
		exact := float64(total) / float64(len(shares))
		if sum > 0 {
			exact = s * total / sum
		}
		// A tolerance for shares that are whole except for rounding errors.
		whole := math.Floor(exact + 1e-9)
		out[i] = int32(whole)
		rest -= out[i]
		parts = append(parts, part{i, exact - whole})
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.remainder, a.remainder) })
	for i := 0; i < int(rest) && len(parts) > 0; i++ {
		out[parts[i%len(parts)].index]++
	}
	return out
}
