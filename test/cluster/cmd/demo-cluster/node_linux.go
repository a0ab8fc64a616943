// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/progress"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// localNode runs the complete demo on a local cluster.
func localNode(ctx context.Context, b *builder.Builder, o options) error {
	if err := b.Expect(ctx, progress.OperatorPrograms, progress.StartCluster); err != nil {
		return err
	}
	fetching, stop := context.WithCancel(ctx)
	fetched := make(chan error, 1)
	go func() { fetched <- b.Prefetch(fetching) }()
	c, err := cluster.Up(ctx, cluster.Options{
		Name: o.name, Subnet: o.subnet, Builder: b,
		Prebuild: []func(context.Context, *builder.Builder) error{func(ctx context.Context, b *builder.Builder) error {
			_, err := b.OperatorImages(ctx)
			return err
		}},
	})
	stop()
	if fetchErr := <-fetched; err != nil {
		// The likely cause is a module that could not be downloaded.
		return errors.Join(err, fetchErr)
	}
	s := scenario.New(c)
	pod, clients, err := show(ctx, s)
	if err != nil {
		fmt.Fprintf(os.Stderr, `
The cluster continues to run, with all changes that were made in it.
inspect: hack/local-cluster.sh kubectl -n %s describe mvm %s
delete:  make demo-reset
stop:    make demo-down
`, scenario.Namespace, scenario.Name)
		return err
	}
	fmt.Printf(`
== done after %.0f s; the cluster continues to run
inspect:      export KUBECONFIG=%s
              hack/local-cluster.sh kubectl get pods -A
              hack/local-cluster.sh exec -pod %s nft list ruleset
the guest:    hack/local-cluster.sh kubectl -n %s logs %s -c guest-console-log
send packets: hack/local-cluster.sh kubectl -n %s exec %s -c client -- /netclient get http://%s.%s/
change it:    hack/local-cluster.sh kubectl -n %s patch mvm %s --type merge -p '{"spec":{"capture":{"outbound":{"excludePorts":[{"port":7000},{"port":9999}]}}}}'
see it:       hack/local-cluster.sh kubectl -n %s exec %s -c client -- /netclient get "http://%s.%s/dial?network=tcp&addr=%s:7000"
              (the guest connects to the client outside, which answers with the client= address that it sees:
              that is the guest's "local" port only if the connection bypassed the proxy)
stop:         make demo-down
`, time.Since(b.Progress.Start()).Seconds(), c.Kubeconfig, pod.UID, scenario.Namespace, pod.Name,
		scenario.Namespace, clients.Inside.Name, scenario.Name, scenario.Namespace,
		scenario.Namespace, scenario.Name,
		scenario.Namespace, clients.Inside.Name, scenario.Name, scenario.Namespace, clients.Outside.Status.PodIP)
	return nil
}

// show deploys the operator, applies the sample, and prints the result.
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
