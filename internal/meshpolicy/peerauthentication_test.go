// SPDX-License-Identifier: Apache-2.0

package meshpolicy_test

import (
	"testing"
	"time"

	securityv1beta1 "istio.io/api/security/v1beta1"
	typev1beta1 "istio.io/api/type/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
)

type mutualTLS = securityv1beta1.PeerAuthentication_MutualTLS

const (
	unset      = securityv1beta1.PeerAuthentication_MutualTLS_UNSET
	strict     = securityv1beta1.PeerAuthentication_MutualTLS_STRICT
	permissive = securityv1beta1.PeerAuthentication_MutualTLS_PERMISSIVE
	disable    = securityv1beta1.PeerAuthentication_MutualTLS_DISABLE
)

// policy returns a PeerAuthentication with an age in seconds. It selects a
// label "app", or all workloads if app is empty.
func policy(namespace, name, app string, age int, mode securityv1beta1.PeerAuthentication_MutualTLS_Mode) *securityv1.PeerAuthentication {
	p := &securityv1.PeerAuthentication{ObjectMeta: metav1.ObjectMeta{
		Namespace: namespace, Name: name, CreationTimestamp: metav1.NewTime(time.Unix(1000-int64(age), 0)),
	}}
	p.Spec.Mtls = &mutualTLS{Mode: mode}
	if app != "" {
		p.Spec.Selector = &typev1beta1.WorkloadSelector{MatchLabels: map[string]string{"app": app}}
	}
	return p
}

func withPort(p *securityv1.PeerAuthentication, port uint32, mode securityv1beta1.PeerAuthentication_MutualTLS_Mode) *securityv1.PeerAuthentication {
	p.Spec.PortLevelMtls = map[uint32]*mutualTLS{port: {Mode: mode}}
	return p
}

func TestEffectiveMutualTLS(t *testing.T) {
	const port, other = 8080, 9090
	for name, tc := range map[string]struct {
		policies []*securityv1.PeerAuthentication
		mode     v1alpha1.MTLSMode
		other    v1alpha1.MTLSMode
		workload string
	}{
		"none": {nil, v1alpha1.MTLSModePermissive, v1alpha1.MTLSModePermissive, ""},
		"own":  {[]*securityv1.PeerAuthentication{policy("shop", "web", "web", 1, strict)}, v1alpha1.MTLSModeStrict, v1alpha1.MTLSModeStrict, "web"},
		"an older one for the pod": {
			[]*securityv1.PeerAuthentication{policy("shop", "web", "web", 1, strict), policy("shop", "legacy", "web", 2, permissive)},
			v1alpha1.MTLSModePermissive, v1alpha1.MTLSModePermissive, "legacy",
		},
		"a younger one for the pod": {
			[]*securityv1.PeerAuthentication{policy("shop", "web", "web", 2, strict), policy("shop", "late", "web", 1, disable)},
			v1alpha1.MTLSModeStrict, v1alpha1.MTLSModeStrict, "web",
		},
		"one of the same second, by name": {
			[]*securityv1.PeerAuthentication{policy("shop", "web", "web", 1, strict), policy("shop", "a", "web", 1, permissive)},
			v1alpha1.MTLSModePermissive, v1alpha1.MTLSModePermissive, "a",
		},
		"an older one for another pod": {
			[]*securityv1.PeerAuthentication{policy("shop", "web", "web", 1, strict), policy("shop", "db", "db", 2, permissive)},
			v1alpha1.MTLSModeStrict, v1alpha1.MTLSModeStrict, "web",
		},
		"an older one of the namespace": {
			[]*securityv1.PeerAuthentication{policy("shop", "web", "web", 1, strict), policy("shop", "default", "", 2, permissive)},
			v1alpha1.MTLSModeStrict, v1alpha1.MTLSModeStrict, "web",
		},
		"an older one that inherits from the namespace": {
			[]*securityv1.PeerAuthentication{policy("shop", "legacy", "web", 2, unset), policy("shop", "default", "", 1, disable), policy("istio-system", "default", "", 3, strict)},
			v1alpha1.MTLSModeDisable, v1alpha1.MTLSModeDisable, "legacy",
		},
		"an older one that inherits from the mesh": {
			[]*securityv1.PeerAuthentication{policy("shop", "legacy", "web", 2, unset), policy("istio-system", "default", "", 3, strict)},
			v1alpha1.MTLSModeStrict, v1alpha1.MTLSModeStrict, "legacy",
		},
		"an older one for one port": {
			[]*securityv1.PeerAuthentication{policy("shop", "web", "web", 1, strict), withPort(policy("shop", "legacy", "web", 2, strict), port, disable)},
			v1alpha1.MTLSModeDisable, v1alpha1.MTLSModeStrict, "legacy",
		},
		"a port that inherits": {
			[]*securityv1.PeerAuthentication{withPort(policy("shop", "legacy", "web", 2, permissive), port, unset)},
			v1alpha1.MTLSModePermissive, v1alpha1.MTLSModePermissive, "legacy",
		},
		"a selector in the root namespace": {
			[]*securityv1.PeerAuthentication{policy("istio-system", "web", "web", 1, strict)},
			v1alpha1.MTLSModePermissive, v1alpha1.MTLSModePermissive, "",
		},
	} {
		t.Run(name, func(t *testing.T) {
			got := meshpolicy.EffectiveMutualTLS(tc.policies, meshpolicy.DefaultRootNamespace, map[string]string{"app": "web", "version": "v1"})
			if got.Mode(port) != tc.mode || got.Mode(other) != tc.other {
				t.Errorf("modes are %s and %s, want %s and %s", got.Mode(port), got.Mode(other), tc.mode, tc.other)
			}
			workload := ""
			if got.Workload != nil {
				workload = got.Workload.Name
			}
			if workload != tc.workload {
				t.Errorf("the policy of the workload is %q, want %q", workload, tc.workload)
			}
		})
	}
}

// TestRootNamespace: only a policy without a selector in the root namespace applies to
// the whole mesh.
func TestRootNamespace(t *testing.T) {
	policies := []*securityv1.PeerAuthentication{policy("istio-system", "default", "", 1, disable), policy("mesh-root", "default", "", 2, strict)}
	for root, want := range map[string]v1alpha1.MTLSMode{"istio-system": v1alpha1.MTLSModeDisable, "mesh-root": v1alpha1.MTLSModeStrict} {
		var relevant []*securityv1.PeerAuthentication
		for _, p := range policies {
			if p.Namespace == root {
				relevant = append(relevant, p)
			}
		}
		if got := meshpolicy.EffectiveMutualTLS(relevant, root, nil).Mode(80); got != want {
			t.Errorf("root namespace %s: mode %s, want %s", root, got, want)
		}
	}
	// A policy with a selector in the root namespace applies to no workload here.
	if got := meshpolicy.EffectiveMutualTLS([]*securityv1.PeerAuthentication{policy("mesh-root", "web", "web", 1, strict)}, "mesh-root", map[string]string{"app": "web"}); got.Workload != nil {
		t.Error("a policy with a selector in the root namespace was applied to the workload")
	}
}
