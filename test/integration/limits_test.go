// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// filters returns the filters of an EnvoyFilter with the ports to which they apply.
func filters(u *unstructured.Unstructured) ([]string, error) {
	patches, err := nestedList(u.Object, "spec", "configPatches")
	if err != nil {
		return nil, err
	}
	var all []string
	for _, p := range patches {
		name, _, err := unstructured.NestedString(p, "patch", "value", "name")
		port, _, portErr := unstructured.NestedInt64(p, "match", "listener", "filterChain", "destinationPort")
		if err := errors.Join(err, portErr); err != nil {
			return nil, err
		}
		all = append(all, fmt.Sprintf("%s %d", name, port))
	}
	return all, nil
}

// TestLimits sets limits of a port, changes one, moves the port and removes the limits.
func TestLimits(t *testing.T) {
	s := start(t)
	await := func(want ...string) {
		s.Helper()
		s.eventually("the EnvoyFilter has its filters", func() error {
			u, err := s.read(children.EnvoyFilterKind, "web")
			if err != nil {
				return err
			}
			got, err := filters(u)
			return errors.Join(err, differs(want, got))
		})
	}
	o := s.web()
	o.Spec.Ports[0].MaxConnections = 1_000_000
	o.Spec.Ports[0].RateLimit = v1alpha1.RateLimit{Requests: 1_000_000, Per: v1alpha1.RateLimitPeriodHour, Rules: []v1alpha1.RateLimitRule{
		{Name: "login", Match: v1alpha1.RateLimitMatch{PathPrefix: "/login", Methods: []v1alpha1.HTTPMethod{"POST"}}, Requests: 5, Per: v1alpha1.RateLimitPeriodMinute},
	}}
	s.converge(o)
	await("envoy.filters.network.connection_limit 8080", "envoy.filters.http.local_ratelimit 8080")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Ports[0].MaxConnections = 0
		spec.Ports[0].AppProtocol, spec.Ports[0].TargetPort = "tcp", 8081
		spec.Ports[0].RateLimit = v1alpha1.RateLimit{Requests: 10, Per: v1alpha1.RateLimitPeriodSecond}
	})
	await("envoy.filters.network.local_ratelimit 8081")

	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports[0].RateLimit = v1alpha1.RateLimit{} })
	s.eventually("the EnvoyFilter is deleted", func() error {
		_, err := s.read(children.EnvoyFilterKind, "web")
		if apierrors.IsNotFound(err) {
			return nil
		}
		return errors.Join(err, errors.New("it exists"))
	})
	s.awaitMVM("web", want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
}
