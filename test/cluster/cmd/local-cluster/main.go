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

const usage = `usage: local-cluster [-name NAME] [-subnet CIDR] COMMAND

  build                build everything that a cluster runs, into the cache
  up                   start the cluster, building what is missing
  down [-keep]         stop it; -keep keeps its state for the next up
  status               say what runs
  kubectl ARGS...      kubectl as administrator
  kubeconfig           print the path of the administrator's kubeconfig
  exec CMD...          run a command inside the node
  exec -pod UID CMD... the same in the network namespace of a pod
  import FILE          give the node the images of an OCI archive
  import -operator     build the operator's images and give them to the node
  tool NAME            build an upstream program, print its path
  kube                 the same for the multi-call binary of Kubernetes
  assets               print a directory for KUBEBUILDER_ASSETS

Environment: MESHVM_CACHE, MESHVM_DEBIAN_MIRROR, KUBEBUILDER_ASSETS.
`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	var status exitStatus
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

// exitStatus is the exit code of a command that spoke for itself.
type exitStatus int

func (s exitStatus) Error() string { return fmt.Sprintf("exit status %d", int(s)) }

// commands by name; each gets the arguments after its name.
var commands = map[string]func(context.Context, cluster.Options, []string) error{
	"build":      build,
	"up":         up,
	"down":       down,
	"status":     status,
	"kubectl":    kubectl,
	"kubeconfig": kubeconfig,
	"exec":       execute,
	"import":     importImages,
	"tool":       tool,
	"kube":       func(ctx context.Context, o cluster.Options, _ []string) error { return tool(ctx, o, []string{"kube"}) },
	"assets":     assets,
}

func run(ctx context.Context, args []string) error {
	o := cluster.Options{Progress: os.Stderr}
	flags := flag.NewFlagSet("local-cluster", flag.ContinueOnError)
	flags.Usage = func() { fmt.Fprint(os.Stderr, usage) }
	flags.StringVar(&o.Name, "name", cluster.DefaultName, "name of the cluster")
	flags.StringVar(&o.Subnet, "subnet", "", "network between the host and the node")
	if err := flags.Parse(args); err != nil {
		return err
	}
	command, ok := commands[flags.Arg(0)]
	if !ok {
		flags.Usage()
		return flag.ErrHelp
	}
	return command(ctx, o, flags.Args()[1:])
}
