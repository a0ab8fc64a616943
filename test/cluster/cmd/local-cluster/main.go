// SPDX-License-Identifier: Apache-2.0

// Command local-cluster builds, starts, stops and inspects the project's local
// Kubernetes cluster with KubeVirt and Istio. See test/cluster/README.md.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"meshvm.io/meshvm/test/cluster"
)

const usage = `usage: local-cluster [-name NAME] [-subnet CIDR] [-nodes N] COMMAND

  build                build everything that a cluster runs into the cache
  up                   start the cluster and build parts that are not cached
  down [-keep]         stop it, and with -keep keep its state for the next up
  status               show the running components
  kubectl ARGS...      kubectl as administrator
  kubeconfig           print the path of the administrator's kubeconfig
  node stop NODE       end a node like a power failure, except node1
  node start NODE      start it again
  node restart NODE SERVER   kill and restart a server, such as the kubelet
  exec CMD...          run a command in node1, or with -node in another
  exec -pod UID CMD... run it in the network namespace of a pod of any node
  import FILE          import the images of an OCI archive on the nodes
  import -operator     build the operator's images and import them on the nodes
  images               build the operator's images and print the archive's path
  demo-images          build the images of the demo's guest and clients for
                       another cluster, print their names and archives' paths
  clean                delete the cache with all products and all state
  tool NAME            build an upstream program and print its path
  kube                 like tool kube, the multi-call binary of Kubernetes
  assets               print a directory for KUBEBUILDER_ASSETS

Environment: MESHVM_CACHE, MESHVM_DEBIAN_MIRROR, KUBEBUILDER_ASSETS.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	var status exitError
	switch {
	case errors.As(err, &status):
		os.Exit(int(status))
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "local-cluster:", err)
		os.Exit(1)
	}
}

// exitError is the exit code of a command that has printed its error.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// command is the implementation of a command. Its arguments follow the name of
// the command.
type command func(context.Context, cluster.Options, []string) error

// commands are the commands by name. commands_linux.go contains those that need a
// node.
var commands = map[string]command{
	"tool":   tool,
	"kube":   func(ctx context.Context, o cluster.Options, _ []string) error { return tool(ctx, o, []string{"kube"}) },
	"assets": assets,
	"images": images,
	"clean":  clean,
}

func run(ctx context.Context, args []string) error {
	o := cluster.Options{Progress: os.Stderr}
	flags := flag.NewFlagSet("local-cluster", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flags.StringVar(&o.Name, "name", cluster.DefaultName, "name of the cluster")
	flags.StringVar(&o.Subnet, "subnet", "", "network between the host and the node")
	flags.IntVar(&o.Nodes, "nodes", 0, "number of nodes (up); defaults to the existing number, or one")
	flags.BoolVar(&o.NativeNftables, "native-nftables", false, "Istio writes its rules with nftables (up)")
	if err := flags.Parse(args); err != nil {
		return err
	}
	name := flags.Arg(0)
	c, ok := commands[name]
	if !ok {
		c, ok = nodeCommands[name]
	}
	if !ok {
		flags.Usage()
		return flag.ErrHelp
	}
	return c(ctx, o, flags.Args()[1:])
}
