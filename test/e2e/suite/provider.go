// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// provider provides a cluster with KubeVirt and Istio.
type provider interface {
	// name is the name of the provider in messages.
	name() string
	// local reports whether the cluster's nodes run on this machine.
	local() bool
	// start returns the cluster.
	start(ctx context.Context) (*scenario.Scenario, error)
	// check checks the cluster itself.
	check(ctx context.Context, t *testing.T, s *scenario.Scenario) error
	// operator reports whether the cluster contains the operator after start.
	operator() operatorState
	// restart stops the cluster like a power failure and starts it again.
	restart(ctx context.Context) (*scenario.Scenario, error)
	// stop stops the cluster and reports what remains on this machine.
	stop(t *testing.T) error
}

func (o *Options) newProvider() provider {
	if o.Kubeconfig != "" {
		return &existing{options: o}
	}
	options := cluster.Options{Name: o.Name, Nodes: 2, Owned: true, Progress: os.Stderr}
	if name := os.Getenv(skewVariable); name != "" && skews[name].options != nil {
		skews[name].options(&options)
	}
	if o.Attach != "" {
		options.Name, options.Owned = o.Attach, false
	}
	return &localCluster{options: options, keep: o.Keep, attach: o.Attach != ""}
}

// existing is the cluster of a kubeconfig. It contains KubeVirt, Istio and the
// operator.
type existing struct{ options *Options }

func (*existing) name() string            { return "kubeconfig" }
func (*existing) local() bool             { return false }
func (*existing) operator() operatorState { return operatorUnknown }
func (*existing) stop(*testing.T) error   { return nil }

func (e *existing) start(context.Context) (*scenario.Scenario, error) {
	if _, err := exec.LookPath(e.options.Kubectl); err != nil {
		return nil, fmt.Errorf("%w: install kubectl or set -kubectl", err)
	}
	b, err := builder.New(os.Stderr)
	if err != nil {
		return nil, err
	}
	c, err := cluster.Remote(e.options.Kubeconfig, e.options.Kubectl, b)
	if err != nil {
		return nil, err
	}
	return scenario.Remote(c, e.options.Images), nil
}

// check checks that the operator is deployed.
func (*existing) check(ctx context.Context, _ *testing.T, s *scenario.Scenario) error {
	if err := s.OperatorReady(ctx); err != nil {
		return fmt.Errorf("%w; deploy the operator: make deploy", err)
	}
	return nil
}

func (*existing) restart(context.Context) (*scenario.Scenario, error) {
	return nil, fmt.Errorf("provider kubeconfig cannot restart the cluster")
}

// guestNodes returns the number of nodes on which KubeVirt can start guests. On the
// local cluster, these are all nodes, although KubeVirt's label can be missing for
// some seconds after a node was started.
func (s *Suite) guestNodes(ctx context.Context) (int, error) {
	if s.provider.local() {
		return len(s.Scenario().Nodes()), nil
	}
	var nodes corev1.NodeList
	if err := s.Scenario().List(ctx, &nodes); err != nil {
		return 0, err
	}
	n := 0
	for i := range nodes.Items {
		if nodes.Items[i].Labels["kubevirt.io/schedulable"] == "true" {
			n++
		}
	}
	return n, nil
}
