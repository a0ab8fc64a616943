// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"meshvm.io/meshvm/test/cluster/progress"
)

// referenceCores is the number of cores of the machine on which progress.Costs
// were measured.
const referenceCores = 2

// announce prints a description of the demo and its requirements.
func (d directories) announce(steps []progress.Cost, ownCluster bool) {
	fmt.Fprintln(os.Stderr, "meshvm demo: a VM in the mesh, and the path of its packets.")
	if ownCluster {
		fmt.Fprintln(os.Stderr, "It runs on the cluster of the given kubeconfig. Only the demo's own programs are compiled.")
		return
	}
	estimate := time.Duration(progress.Sum(steps) * referenceCores / float64(runtime.NumCPU()) * float64(time.Second))
	if len(steps) == 1 {
		fmt.Fprintf(os.Stderr, "It starts a Kubernetes node with KubeVirt, Istio and the operator. All parts are built: this takes %s.\n", progress.About(estimate))
		return
	}
	fmt.Fprintf(os.Stderr, `It starts a Kubernetes node with KubeVirt, Istio and the operator on this machine.
These parts are compiled from their Go modules or unpacked from Debian packages, once:
  Kubernetes and etcd, a Debian root file system with libvirt and QEMU, KubeVirt, a guest, Istio, CoreDNS, the operator
  time:  %s for %d of %d steps on %d cores; later runs take about a minute
`, progress.About(estimate), len(steps), len(progress.Costs), runtime.NumCPU())
	for _, s := range d.spaces(len(steps)) {
		fmt.Fprintf(os.Stderr, "  disk:  up to %.1f GB in %s, %s\n", s.needed/1000, s.dir, s.freeText())
	}
	fmt.Fprintln(os.Stderr, "  memory: 6 GB while compiling. Nothing is installed; \"make demo-clean\" removes all files except Go's caches.")
}

// space is the required and the free space of a directory, in MB.
type space struct {
	dir          string
	needed, free float64
	// disk identifies the file system. It is empty if unknown.
	disk string
}

func (s space) freeText() string {
	if s.disk == "" {
		return "free space unknown"
	}
	return fmt.Sprintf("%.1f GB free", s.free/1000)
}

// spaces returns the required space of the directories, in proportion to the
// missing steps.
func (d directories) spaces(missing int) []space {
	part := float64(missing) / float64(len(progress.Costs))
	out := []space{
		{dir: d.cache, needed: progress.Disk.Cache * part},
		{dir: d.goCache, needed: progress.Disk.GoCache * part},
		{dir: d.modules, needed: progress.Disk.Modules * part},
	}
	for i := range out {
		dir := out[i].dir
		for dir != filepath.Dir(dir) {
			if _, err := os.Stat(dir); err == nil {
				break
			}
			dir = filepath.Dir(dir)
		}
		out[i].free, out[i].disk = freeSpace(dir)
	}
	return out
}

// checkSpace fails if a file system has less free space than its directories
// require.
func (d directories) checkSpace(missing int) error {
	needed := map[string]float64{}
	for _, s := range d.spaces(missing) {
		needed[s.disk] += s.needed
		if s.disk != "" && needed[s.disk] > s.free {
			return fmt.Errorf("%w: %s has %.1f GB, the demo needs up to %.1f GB there; free some, or set %s, GOCACHE or GOMODCACHE to directories on a larger disk",
				errSpace, s.dir, s.free/1000, needed[s.disk]/1000, progress.CacheEnv)
		}
	}
	return nil
}
