// Command local-cluster builds, starts and stops the project's local Kubernetes
// cluster. See test/cluster/README.md.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"meshvm.io/meshvm/test/cluster/builder"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b, err := builder.New(os.Stderr)
	if err == nil {
		var p string
		switch os.Args[1] {
		case "tool":
			p, err = b.Tool(ctx, os.Args[2])
		case "assets":
			p, err = b.EnvtestAssets(ctx)
		case "guest":
			p, err = b.GuestImageArchive(ctx)
		case "agent":
			p, err = b.AgentImageArchive(ctx)
		case "images":
			p, err = b.ClusterImages(ctx)
		case "kubevirt":
			p, err = b.KubeVirtImages(ctx)
		}
		fmt.Println(p)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
