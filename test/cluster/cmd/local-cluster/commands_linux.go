// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/nsrun"
)

// nodeCommands are the commands that need a node.
var nodeCommands = map[string]command{
	"build":       build,
	"up":          up,
	"down":        down,
	"status":      status,
	"node":        nodeCommand,
	"kubectl":     kubectl,
	"kubeconfig":  kubeconfig,
	"exec":        execute,
	"import":      importImages,
	"demo-images": demoImages,
}

func build(ctx context.Context, o cluster.Options, _ []string) error { return cluster.Build(ctx, o) }

func up(ctx context.Context, o cluster.Options, args []string) error {
	flags := flag.NewFlagSet("up", flag.ContinueOnError)
	flags.BoolVar(&o.WithoutKubeVirt, "without-kubevirt", false, "only Kubernetes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	c, err := cluster.Up(ctx, o)
	if err != nil {
		return err
	}
	c.Logf("cluster %s is up; KUBECONFIG=%s", c.Name(), c.Kubeconfig)
	return nil
}

func down(_ context.Context, o cluster.Options, args []string) error {
	flags := flag.NewFlagSet("down", flag.ContinueOnError)
	keep := flags.Bool("keep", false, "keep the state for the next up")
	if err := flags.Parse(args); err != nil {
		return err
	}
	return cluster.Down(o, *keep)
}

func status(ctx context.Context, o cluster.Options, _ []string) error {
	c, err := cluster.Attach(ctx, o)
	if err != nil {
		return err
	}
	fmt.Printf("cluster %s; state and logs: %s\n", c.Name(), c.StateDir())
	for _, name := range c.Nodes() {
		s, err := c.NodeStatus(name)
		if err != nil {
			return err
		}
		if c.PID(name) == 0 {
			fmt.Printf("%s: stopped\n", name)
			continue
		}
		fmt.Printf("%s: process %d, %s %s\n", name, c.PID(name), s.Phase, s.Message)
		for _, n := range slices.Sorted(maps.Keys(s.Servers)) {
			state := "running"
			if e := s.Servers[n].Exited; e != "" {
				state = e
			}
			fmt.Printf("  %-24s %s\n", n, state)
		}
	}
	return nil
}

// nodeCommand stops or starts a node, or restarts one of its servers.
func nodeCommand(ctx context.Context, o cluster.Options, args []string) error {
	const use = "node: expected stop NODE, start NODE, or restart NODE SERVER"
	if len(args) < 2 {
		return errors.New(use)
	}
	c, err := cluster.Attach(ctx, o)
	if err != nil {
		return err
	}
	switch {
	case args[0] == "stop" && len(args) == 2:
		return c.StopNode(args[1])
	case args[0] == "start" && len(args) == 2:
		return c.StartNode(ctx, args[1])
	case args[0] == "restart" && len(args) == 3:
		return c.RestartServer(ctx, args[1], args[2])
	}
	return errors.New(use)
}

func kubectl(ctx context.Context, o cluster.Options, args []string) error {
	c, err := cluster.Attach(ctx, o)
	if err != nil {
		return err
	}
	return passExit(c.Kubectl(ctx, cluster.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}, args...))
}

func kubeconfig(ctx context.Context, o cluster.Options, _ []string) error {
	c, err := cluster.Attach(ctx, o)
	if err != nil {
		return err
	}
	fmt.Println(c.Kubeconfig)
	return nil
}

func execute(ctx context.Context, o cluster.Options, args []string) error {
	flags := flag.NewFlagSet("exec", flag.ContinueOnError)
	node := flags.String("node", "node1", "node to run the command in")
	pod := flags.String("pod", "", "UID of the pod whose network namespace is used")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("exec: no command specified")
	}
	c, err := cluster.Attach(ctx, o)
	if err != nil {
		return err
	}
	s := cluster.Stdio{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}
	if *pod != "" {
		return passExit(c.PodNetnsRun(ctx, *pod, s, flags.Args()...))
	}
	return passExit(c.NodeRun(ctx, *node, s, flags.Args()...))
}

// passExit returns an error with the exit code of a command.
func passExit(err error) error {
	if code := nsrun.ExitCode(err); code > 0 {
		return exitError(code)
	}
	return err
}

func importImages(ctx context.Context, o cluster.Options, args []string) error {
	if len(args) != 1 {
		return errors.New("import: expected the path of an archive, or -operator")
	}
	c, err := cluster.Attach(ctx, o)
	if err != nil {
		return err
	}
	path := args[0]
	if path == "-operator" {
		if path, err = c.Builder().OperatorImages(ctx); err != nil {
			return err
		}
	}
	return c.ImportImage(ctx, path)
}

// demoImages prints the paths of the archives that the demo needs on another
// cluster.
func demoImages(ctx context.Context, o cluster.Options, _ []string) error {
	b, err := builder.New(o.Progress)
	if err != nil {
		return err
	}
	guest, err := b.GuestImageArchive(ctx)
	if err != nil {
		return err
	}
	clients, err := b.ClusterImages(ctx)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s\n%s %s\n", builder.GuestImage, guest, builder.ClientImage, clients)
	return nil
}
