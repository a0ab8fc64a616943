// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// node shows everything.
func node(ctx context.Context) error {
	begin := time.Now()
	c, err := cluster.Up(ctx, cluster.Options{Progress: os.Stderr})
	if err != nil {
		return err
	}
	s := scenario.New(c)
	pod, clients, err := show(ctx, s)
	if err != nil {
		fmt.Fprintf(os.Stderr, `
the cluster goes on running, with what was edited in it before
look around:  hack/local-cluster.sh kubectl -n %s describe mvm %s
forget it:    make demo-reset
stop:         make demo-down
`, scenario.Namespace, scenario.Name)
		return err
	}
	fmt.Printf(`
== done after %.0f s; the cluster goes on running
look around:  export KUBECONFIG=%s
              hack/local-cluster.sh kubectl get pods -A
              hack/local-cluster.sh exec -pod %s nft list ruleset
the guest:    hack/local-cluster.sh kubectl -n %s logs %s -c guest-console-log
send packets: hack/local-cluster.sh kubectl -n %s exec %s -c client -- /netclient get http://%s.%s/
change it:    hack/local-cluster.sh kubectl -n %s patch mvm %s --type merge -p '{"spec":{"capture":{"outbound":{"excludePorts":[{"port":7000},{"port":9999}]}}}}'
see it:       hack/local-cluster.sh kubectl -n %s exec %s -c client -- /netclient get "http://%s.%s/dial?network=tcp&addr=%s:7000"
              (the guest connects to outside: what that answers as client= has the guest's own port, the
              one in "local", only when the connection bypassed the proxy)
stop:         make demo-down
`, time.Since(begin).Seconds(), c.Kubeconfig, pod.UID, scenario.Namespace, pod.Name,
		scenario.Namespace, clients.Inside.Name, scenario.Name, scenario.Namespace,
		scenario.Namespace, scenario.Name,
		scenario.Namespace, clients.Inside.Name, scenario.Name, scenario.Namespace, clients.Outside.Status.PodIP)
	return nil
}

// show deploys the operator, applies the sample, and prints what came of it.
func show(ctx context.Context, s *scenario.Scenario) (*corev1.Pod, scenario.Clients, error) {
	if err := s.DeployOperator(ctx); err != nil {
		return nil, scenario.Clients{}, err
	}
	if err := s.FreeLease(ctx); err != nil {
		return nil, scenario.Clients{}, err
	}
	pod, clients, err := s.Sample(ctx)
	if err != nil {
		return nil, clients, err
	}
	return pod, clients, s.Show(ctx, os.Stdout, pod, clients)
}
