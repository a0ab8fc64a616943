// SPDX-License-Identifier: Apache-2.0

package operatorconfig

import (
	"slices"
	"testing"
)

func TestClusterDomain(t *testing.T) {
	tests := map[string]struct {
		configured, resolvConf string
		domain, source         string
	}{
		"a pod":                          {"", "search meshvm-system.svc.corp.example svc.corp.example corp.example\nnameserver 10.96.0.10\noptions ndots:5\n", "corp.example", ResolvConf},
		"a domain of one label":          {"", "search a.svc.k8s svc.k8s k8s\n", "k8s", ResolvConf},
		"domains of the node follow":     {"", "nameserver 10.96.0.10\nsearch a.svc.cluster.local svc.cluster.local cluster.local eu-west-1.compute.internal\n", "cluster.local", ResolvConf},
		"trailing dots":                  {"", "search a.svc.corp.example. svc.corp.example. corp.example.", "corp.example", ResolvConf},
		"the last list applies":          {"", "search a.svc.one svc.one one\nsearch a.svc.two svc.two two\n", "two", ResolvConf},
		"the configuration has priority": {"corp.example", "search a.svc.k8s svc.k8s k8s\n", "corp.example", "cluster.domain"},
		"a pod with the node's resolver": {"", "search svc.example example\nnameserver 192.0.2.1\n", "cluster.local", "default"},
		"a comment":                      {"", "# search a.svc.k8s svc.k8s k8s\n", "cluster.local", "default"},
		"no name":                        {"", "search a.svc.K_8 svc.K_8 K_8\n", "cluster.local", "default"},
		"an empty list":                  {"", "search\n", "cluster.local", "default"},
		"no file":                        {"", "", "cluster.local", "default"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			text := ""
			if tc.configured != "" {
				text = "cluster: {domain: " + tc.configured + "}\n"
			}
			if domain, source := ClusterDomain(parse(t, text), tc.resolvConf); domain != tc.domain || source != tc.source {
				t.Errorf("got %s from %s, want %s from %s", domain, source, tc.domain, tc.source)
			}
		})
	}
}

func TestResolvers(t *testing.T) {
	tests := map[string]struct {
		resolvConf string
		want       []string
	}{
		"a pod":                          {"search a.svc.k8s svc.k8s k8s\nnameserver 10.96.0.10\nnameserver fd00::a\noptions ndots:5\n", []string{"10.96.0.10", "fd00::a"}},
		"a pod with the node's resolver": {"search example\nnameserver 192.0.2.1\n", nil},
		"no file":                        {"", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Resolvers(tc.resolvConf); !slices.Equal(got, tc.want) {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
