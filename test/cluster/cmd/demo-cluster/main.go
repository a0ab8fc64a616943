// SPDX-License-Identifier: Apache-2.0

// Command demo-cluster starts the local cluster, deploys the operator from its
// manifests, applies the sample, and shows the path of packets to and from the
// guest. The cluster continues to run.
//
// Without root privileges, or on a system other than Linux, it reports the
// omitted parts and shows the operator on an API server without nodes. With
// -kubeconfig it uses an existing cluster.
//
// Command demo compiles and starts this program.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/progress"
)

// options are the program's flags.
type options struct {
	// name and subnet are the name and the subnet of the local cluster.
	name, subnet string
	// kubeconfig is the path of the kubeconfig of an existing cluster.
	kubeconfig string
	kubectl    string
	images     images
}

// images are the images for an existing cluster (see scenario.Images).
type images struct{ guest, disk, client, shell string }

func (i *images) flags(f *flag.FlagSet) {
	f.StringVar(&i.guest, "guest-image", "", "the guest image of \"local-cluster demo-images\" in a registry; if empty, guests boot -guest-disk")
	f.StringVar(&i.disk, "guest-disk", "quay.io/containerdisks/fedora:latest", "containerDisk with cloud-init, Python 3 and an SSH server")
	f.StringVar(&i.client, "client-image", "", "the client image of \"local-cluster demo-images\" in a registry; if empty, the client is copied into pods of -shell-image")
	f.StringVar(&i.shell, "shell-image", "docker.io/library/busybox:stable", "image with sh and cat")
}

// parse parses the program's arguments. It uses a separate flag set, because
// linked packages define flags in flag.CommandLine: controller-runtime's
// client/config defines -kubeconfig.
func parse(args []string) (options, error) {
	var o options
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	f.StringVar(&o.name, "name", "", "name of the local cluster")
	f.StringVar(&o.subnet, "subnet", "", "network between this machine and the node of the local cluster")
	f.StringVar(&o.kubeconfig, "kubeconfig", "", "use the existing cluster of this file, with KubeVirt, Istio and the operator")
	f.StringVar(&o.kubectl, "kubectl", "kubectl", "kubectl for the existing cluster")
	o.images.flags(f)
	err := f.Parse(args)
	if err == nil && f.NArg() > 0 {
		err = fmt.Errorf("unexpected argument %q: all options are flags, see -help", f.Arg(0))
	}
	return o, err
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err = run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	b, err := builder.NewTracked(progress.New(os.Stderr, progress.Started()))
	if err != nil {
		return err
	}
	if o.kubeconfig != "" {
		return existingCluster(ctx, b, o)
	}
	if missing := builder.Missing(); missing != nil {
		fmt.Fprintf(os.Stderr, "demo: omitted: the node, the guest, its NAT and all packets: %v\n", missing)
		fmt.Fprintln(os.Stderr, "demo: shown: the operator on a real API server")
		return controlPlane(ctx, b)
	}
	return localNode(ctx, b, o)
}
