package main

import (
	"context"
	"fmt"
	"os"
	"time"

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
	pod, clients, err := s.Run(ctx)
	if err == nil {
		err = s.Show(ctx, os.Stdout, pod, clients)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, `
the cluster goes on running, with what was edited in it before
look around:  go run ./test/cluster/cmd/local-cluster kubectl -n %s describe mvm %s
forget it:    make demo-reset
stop:         make demo-down
`, scenario.Namespace, scenario.Name)
		return err
	}
	fmt.Printf(`
== done after %.0f s; the cluster goes on running
look around:  export KUBECONFIG=%s
              go run ./test/cluster/cmd/local-cluster kubectl get pods -A
              go run ./test/cluster/cmd/local-cluster exec -pod %s nft list ruleset
the guest:    go run ./test/cluster/cmd/local-cluster kubectl -n %s logs %s -c guest-console-log
send packets: go run ./test/cluster/cmd/local-cluster kubectl -n %s exec %s -c client -- /netclient get http://%s.%s/
change it:    go run ./test/cluster/cmd/local-cluster kubectl -n %s edit mvm %s
stop:         make demo-down
`, time.Since(begin).Seconds(), c.Kubeconfig, pod.UID, scenario.Namespace, pod.Name,
		scenario.Namespace, clients.Inside.Name, scenario.Name, scenario.Namespace, scenario.Namespace, scenario.Name)
	return nil
}
