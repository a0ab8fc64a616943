// SPDX-License-Identifier: Apache-2.0

// Command local-cluster builds, starts, stops and looks into the project's local
// Kubernetes cluster with KubeVirt. See test/cluster/README.md.
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

  build                make everything that a cluster runs, into the cache
  up                   start the cluster, building what is missing
  down [-keep]         stop it; -keep keeps its state for the next up
  status               show the running components
  kubectl ARGS...      kubectl as administrator
  kubeconfig           print the path of the administrator's kubeconfig
  node stop NODE       end a node as a power failure would, except node1
  node start NODE      start it again
  node restart NODE SERVER   end a server, such as the kubelet, and start it again
  exec CMD...          run a command inside node1, or with -node in another
  exec -pod UID CMD... the same in the network namespace of a pod of any node
  import FILE          give the nodes the images of an OCI archive
  import -operator     build the operator's images and give them to the nodes
  images               build the operator's images, print the archive's path
  demo-images          build the images of the demo's guest and clients for
                       another cluster, print their names and archives' paths
  clean                remove the cache: all that was built, all kept state
  tool NAME            build an upstream program, print its path
  kube                 the same for the multi-call binary of Kubernetes
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

// exitError is the exit code of a command that spoke for itself.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// command gets the arguments after its name.
type command func(context.Context, cluster.Options, []string) error

// commands by name; those that need a node are in commands_linux.go.
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
	flags.IntVar(&o.Nodes, "nodes", 0, "how many nodes (up); as many as there are, or one")
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
