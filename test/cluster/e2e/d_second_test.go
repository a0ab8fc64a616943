// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bufio"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"

	"meshvm.io/meshvm/test/cluster"
)

// footprint is what a cluster could leave on the machine, as sorted lists.
type footprint map[string][]string

// takeFootprint lists mounts, links, nftables' tables, and the cgroups of one
// cluster with the processes in them.
func takeFootprint(cluster string) (footprint, error) {
	own := regexp.MustCompile("/meshvm-" + regexp.QuoteMeta(cluster) + `(\.node\d)?(/|\n|$)`)
	f := footprint{}
	for name, list := range map[string]func() ([]string, error){
		"mounts": mounts, "nft tables": tables,
		"links":     func() ([]string, error) { return links(cluster) },
		"cgroups":   func() ([]string, error) { return cgroups(own) },
		"processes": func() ([]string, error) { return processes(own) },
	} {
		items, err := list()
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", name, err)
		}
		slices.Sort(items)
		f[name] = items
	}
	return f, nil
}

// more lists what other has that f has not.
func (f footprint) more(other footprint) []string {
	var out []string
	for name, items := range other {
		for _, i := range items {
			if !slices.Contains(f[name], i) {
				out = append(out, name+": "+i)
			}
		}
	}
	return out
}

func mounts() ([]string, error) {
	file, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	defer file.Close() //nolint:errcheck // only read
	var out []string
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if f := strings.Fields(lines.Text()); len(f) > 4 {
			out = append(out, f[4])
		}
	}
	return out, nil
}

// links leaves out those of other clusters, which come and go as they like.
func links(cluster string) ([]string, error) {
	all, err := netlink.LinkList()
	var out []string
	for _, l := range all {
		if other, ok := strings.CutPrefix(l.Attrs().Name, "mvm-"); !ok || other == cluster {
			out = append(out, l.Attrs().Name)
		}
	}
	return out, err
}

func cgroups(own *regexp.Regexp) ([]string, error) {
	var out []string
	err := filepath.WalkDir("/sys/fs/cgroup", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && own.MatchString(path) {
			out = append(out, path)
		}
		return nil
	})
	return out, err
}

func tables() ([]string, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	all, err := c.ListTables()
	var out []string
	for _, t := range all {
		out = append(out, fmt.Sprintf("%d %s", t.Family, t.Name))
	}
	return out, err
}

func processes(own *regexp.Regexp) ([]string, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cgroup")
	var out []string
	for _, p := range paths {
		raw, err := os.ReadFile(p)
		if err == nil && own.Match(raw) {
			out = append(out, filepath.Base(filepath.Dir(p)))
		}
	}
	return out, err
}

// nothingLeft fails when the machine has more than at the start.
func nothingLeft(t *testing.T, cluster string, before footprint) {
	t.Helper()
	var more []string
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		after, err := takeFootprint(cluster)
		if err != nil {
			t.Fatal(err)
		}
		if more = before.more(after); len(more) == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("left on the machine:\n%s", strings.Join(more, "\n"))
		}
	}
}

// TestSecondCluster starts another cluster in addition to the running one, until its node
// is Ready, and checks that stopping it leaves nothing.
func TestSecondCluster(t *testing.T) {
	skip(t)
	name := options.Name + "-second"
	before, err := takeFootprint(name)
	if err != nil {
		t.Fatal(err)
	}
	o := cluster.Options{Name: name, Owned: true, Progress: os.Stderr, WithoutKubeVirt: true}
	if err := cluster.Down(o, false); err != nil {
		t.Fatal(err)
	}
	c, err := cluster.Up(testContext(t, 40*time.Minute), o) // returns when the node is Ready
	if err != nil {
		t.Fatal(err)
	}
	during, err := takeFootprint(name)
	if err != nil {
		t.Fatal(err)
	}
	if more := before.more(during); len(more) < 3 {
		t.Errorf("the check for leftovers sees too little of a running cluster: %v", more)
	}
	if err := c.Down(false); err != nil {
		t.Fatal(err)
	}
	nothingLeft(t, name, before)
	if _, err := os.Stat(c.StateDir()); !os.IsNotExist(err) {
		t.Errorf("the state directory %s is still there (%v)", c.StateDir(), err)
	}
}
