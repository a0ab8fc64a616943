// SPDX-License-Identifier: Apache-2.0

package meshpolicy

import (
	"cmp"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Namespaces of Istio's exportTo that are not names of namespaces (Istio,
// pkg/config/visibility).
const (
	exportToOwn  = "."
	exportToMesh = "*"
)

// byAge sorts objects as Istio does: oldest first, then by name and namespace
// (Istio, pilot/pkg/model, configCompareByCreationTime).
func byAge[T metav1.Object](objects []T) []T {
	sorted := slices.Clone(objects)
	slices.SortFunc(sorted, func(a, b T) int {
		created := a.GetCreationTimestamp()
		other := b.GetCreationTimestamp()
		return cmp.Or(created.Compare(other.Time), cmp.Compare(a.GetName(), b.GetName()), cmp.Compare(a.GetNamespace(), b.GetNamespace()))
	})
	return sorted
}

// SameHost reports whether a host of an Istio object in the namespace of the
// Service is the DNS name of the Service, which is fully qualified. A host
// without a dot is a name in the object's namespace (Istio, pilot/pkg/model,
// ResolveShortnameToFQDN).
func SameHost(host, fqdn string) bool {
	name, _, _ := strings.Cut(fqdn, ".")
	return host == fqdn || host == name
}

// Covers reports whether a host is the DNS name of the Service, or a wildcard
// that matches it.
func Covers(host, fqdn string) bool {
	suffix, wildcard := strings.CutPrefix(host, "*")
	return SameHost(host, fqdn) || wildcard && strings.HasSuffix(fqdn, suffix)
}
