// SPDX-License-Identifier: Apache-2.0

// Command must-gather collects the information that a support request about
// meshvm requires: the operator's objects and logs, and all
// MeshedVirtualMachines with their children, Jobs and events. It is read-only,
// reads no Secrets, and omits the cloud-init data of virtual machines.
//
//	gather [-dest-dir DIR]
//
// It honors MUST_GATHER_SINCE and MUST_GATHER_SINCE_TIME.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/internal/mustgather"
	"meshvm.io/meshvm/internal/version"
)

func main() {
	dir := flag.String("dest-dir", "/must-gather", "directory for the output")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, *dir)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "gather:", err)
		os.Exit(1)
	}
}

// run fails only if nothing can be collected.
func run(ctx context.Context, dir string) error {
	since, err := mustgather.Since(os.Getenv, time.Now())
	if err != nil {
		return err
	}
	cfg, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("get the configuration of the API server client: %w", err)
	}
	reader, err := client.New(cfg, client.Options{})
	if err != nil {
		return err
	}
	typed, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		return err
	}
	g := &mustgather.Gatherer{Client: reader, Dir: dir, Since: since}
	g.Logs = func(ctx context.Context, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error) {
		return typed.CoreV1().Pods(namespace).GetLogs(pod, o).Stream(ctx)
	}
	if err := g.Run(ctx, version.Version); err != nil {
		fmt.Fprintln(os.Stderr, "gather: collection is incomplete (see errors.txt):", err)
	}
	if g.Written() < 2 {
		return fmt.Errorf("nothing was collected into %s", dir)
	}
	fmt.Printf("gather: %d files in %s\n", g.Written(), dir)
	return nil
}
