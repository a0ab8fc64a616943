// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// Environment variables.
const (
	// enableVariable is set by "make test-e2e".
	enableVariable = "MESHVM_TEST_CLUSTER"
	// skewVariable contains the name of the skew of all tests.
	skewVariable = "MESHVM_SKEW"
)

// Options are the flags of the tests.
type Options struct {
	// Keep keeps the state of the cluster for the next run.
	Keep bool
	// Attach is the name of a running local cluster, which is not stopped.
	Attach string
	// Name is the name of the cluster that is started.
	Name string
	// Kubeconfig selects an existing cluster.
	Kubeconfig string
	// Kubectl is the program for the existing cluster.
	Kubectl string
	// Images are those of the existing cluster.
	Images scenario.Images
}

// Flags defines the flags.
func Flags(f *flag.FlagSet) *Options {
	o := &Options{}
	f.BoolVar(&o.Keep, "keep-state", false, "keep the cluster's state for the next run")
	f.StringVar(&o.Attach, "attach", "", "name of a running local cluster (local-cluster -name NAME -nodes 2 up), which is not stopped")
	f.StringVar(&o.Name, "name", "e2e", "name of the local cluster that is started")
	f.StringVar(&o.Kubectl, "kubectl", "kubectl", "kubectl for an existing cluster")
	f.StringVar(&o.Images.Guest, "guest-image", "", "the guest image of \"local-cluster demo-images\" in a registry of the existing cluster; if empty, guests boot -guest-disk")
	f.StringVar(&o.Images.Disk, "guest-disk", "quay.io/containerdisks/fedora:latest", "containerDisk with cloud-init, Python 3 and an SSH server")
	f.StringVar(&o.Images.Client, "client-image", "", "the client image of \"local-cluster demo-images\" in a registry; if empty, the client is copied into pods of -shell-image")
	f.StringVar(&o.Images.Shell, "shell-image", "docker.io/library/busybox:stable", "image with sh and cat")
	// controller-runtime defines a flag of this name if its package config is linked.
	if f.Lookup("kubeconfig") == nil {
		f.String("kubeconfig", "", "use the existing cluster of this file, with KubeVirt, Istio and the operator; default: $KUBECONFIG")
	}
	return o
}

// parsed reads the flags that other packages may have defined.
func (o *Options) parsed() {
	o.Kubeconfig = os.Getenv("KUBECONFIG")
	if f := flag.Lookup("kubeconfig"); f != nil && f.Value.String() != "" {
		o.Kubeconfig = f.Value.String()
	}
	if o.Attach != "" {
		o.Kubeconfig = ""
	}
}

// skipReason explains why the tests cannot run, empty if they can.
func (o *Options) skipReason() string {
	o.parsed()
	if os.Getenv(enableVariable) == "" {
		return "starts a cluster, which takes minutes: make test-e2e, or " + enableVariable + "=1"
	}
	if o.Kubeconfig != "" {
		return ""
	}
	if err := builder.Missing(); err != nil {
		return err.Error()
	}
	return ""
}

// skew returns the name of the skew of this run.
func (o *Options) skew() (string, error) {
	name := os.Getenv(skewVariable)
	if name == "" {
		return "", nil
	}
	if _, ok := skews[name]; !ok {
		return "", fmt.Errorf("unknown skew %s=%s: must be one of %v", skewVariable, name, slices.Sorted(maps.Keys(skews)))
	}
	if o.Attach != "" || o.Keep || o.Kubeconfig != "" {
		return "", fmt.Errorf("%s changes the cluster permanently: do not use -attach, -keep-state or -kubeconfig", skewVariable)
	}
	return name, nil
}

// shuffle returns the seed for the order of the tests, or nil without -shuffle.
func (o *Options) shuffle() *uint64 {
	f := flag.Lookup("test.shuffle")
	if f == nil || f.Value.String() == "off" {
		return nil
	}
	seed, err := strconv.ParseInt(f.Value.String(), 10, 64)
	if err != nil { // "on"
		seed = time.Now().UnixNano()
	}
	out := uint64(seed) //nolint:gosec // Any bits are a seed.
	return &out
}
