// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/vishvananda/netlink"
)

// footprint contains sorted lists of the objects that a cluster can leave on the
// machine.
type footprint map[string][]string

// takeFootprint lists mounts, links, nftables tables, and the cgroups of one
// cluster with their processes.
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

// added lists the items of a later footprint that are not in f.
func (f footprint) added(later footprint) []string {
	var out []string
	for name, items := range later {
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

// links omits the links of other clusters, which can change at any time.
func links(cluster string) ([]string, error) {
	all, err := netlink.LinkList()
	for range 100 {
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
		all, err = netlink.LinkList() // A link was added or removed during the dump.
	}
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

// nothingLeft returns an error if the machine has more objects than before the
// cluster was started. Some objects disappear asynchronously.
func nothingLeft(cluster string, before footprint) error {
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		after, err := takeFootprint(cluster)
		if err != nil {
			return err
		}
		added := before.added(after)
		if len(added) == 0 {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("cluster %s left on the machine:\n%s", cluster, strings.Join(added, "\n"))
		}
	}
}

// Footprint watches what a cluster leaves on the machine.
type Footprint struct {
	cluster string
	before  footprint
}

// NewFootprint records the state of the machine before a cluster is started.
func NewFootprint(cluster string) (*Footprint, error) {
	before, err := takeFootprint(cluster)
	return &Footprint{cluster, before}, err
}

// Added lists the objects that were created since then.
func (f *Footprint) Added() ([]string, error) {
	now, err := takeFootprint(f.cluster)
	return f.before.added(now), err
}

// NothingLeft returns an error if such objects remain.
func (f *Footprint) NothingLeft() error { return nothingLeft(f.cluster, f.before) }
