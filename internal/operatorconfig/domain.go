// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/api/v1alpha1"
)

// ResolvConf is the file that the kubelet writes into a pod with the DNS policy
// ClusterFirst.
const ResolvConf = "/etc/resolv.conf"

// ClusterDomain returns the DNS domain of the cluster and its source: the
// configuration, the content of resolv.conf, or the default.
func ClusterDomain(c *configv1alpha1.OperatorConfiguration, resolvConf string) (domain, source string) {
	if c.Cluster.Domain != "" {
		return c.Cluster.Domain, "cluster.domain"
	}
	if domain := searchedDomain(resolvConf); domain != "" {
		return domain, ResolvConf
	}
	return v1alpha1.DefaultClusterDomain, "default"
}

// Resolvers returns the addresses of the cluster's resolvers in a resolv.conf, nil if
// the file does not belong to a pod with the DNS policy ClusterFirst.
func Resolvers(resolvConf string) []string {
	if searchedDomain(resolvConf) == "" {
		return nil
	}
	var out []string
	for line := range strings.Lines(resolvConf) {
		if fields := strings.Fields(line); len(fields) == 2 && fields[0] == "nameserver" {
			out = append(out, fields[1])
		}
	}
	return out
}

// searchedDomain returns the cluster's domain in the search list of a
// resolv.conf, or an empty string. The kubelet writes "search
// NAMESPACE.svc.DOMAIN svc.DOMAIN DOMAIN" (Kubernetes, pkg/kubelet/network/dns,
// generateSearchesForDNSClusterFirst). All three entries must be present, so
// that other search lists do not match. The last search line applies
// (resolv.conf(5)).
func searchedDomain(resolvConf string) string {
	var search []string
	for line := range strings.Lines(resolvConf) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[0] == "search" {
			search = fields[1:]
		}
	}
	for i := range search {
		search[i] = strings.TrimSuffix(search[i], ".")
	}
	for i := 1; i+1 < len(search); i++ {
		domain := search[i+1]
		if search[i] == "svc."+domain && strings.HasSuffix(search[i-1], "."+search[i]) && len(validation.IsDNS1123Subdomain(domain)) == 0 {
			return domain
		}
	}
	return ""
}
