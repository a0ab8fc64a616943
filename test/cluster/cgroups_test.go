// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/test/cluster/node"
)

func TestCgroupDirs(t *testing.T) {
	for name, tc := range map[string]struct {
		memberships, mountinfo string
		want                   []node.Cgroup
	}{
		"separate v1 hierarchies": {
			memberships: "9:name=systemd:/\n4:memory:/some/job\n0::/\n",
			mountinfo: "35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n" +
				"40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,release_agent=/lib/x,name=systemd\n" +
				"41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n",
			want: []node.Cgroup{
				{Controllers: "name=systemd", Dir: "/sys/fs/cgroup/systemd/mine"},
				{Controllers: "memory", Dir: "/sys/fs/cgroup/memory/some/job/mine"},
				{Controllers: "", Dir: "/sys/fs/cgroup/unified/mine"},
			},
		},
		"joint controllers, in a container": {
			memberships: "2:cpu,cpuacct:/docker/abc/inner\n",
			mountinfo:   "35 31 0:32 /docker/abc /sys/fs/cgroup/cpu,cpuacct rw,relatime - cgroup cgroup rw,cpu,cpuacct\n",
			want:        []node.Cgroup{{Controllers: "cpu,cpuacct", Dir: "/sys/fs/cgroup/cpu,cpuacct/inner/mine"}},
		},
		"only v2, at the root": {
			memberships: "0::/user.slice/session-1.scope\n",
			mountinfo:   "41 31 0:38 / /sys/fs/cgroup rw,relatime shared:4 - cgroup2 cgroup2 rw,nsdelegate\n",
			want:        []node.Cgroup{{Controllers: "", Dir: "/sys/fs/cgroup/mine"}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := cgroupDirs(tc.memberships, tc.mountinfo, "mine")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
	if _, err := cgroupDirs("0::/\n", "", "mine"); err == nil {
		t.Error("expected an error without a mounted hierarchy")
	}
}
