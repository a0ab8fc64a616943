// SPDX-License-Identifier: Apache-2.0

package cluster

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"meshvm.io/meshvm/test/cluster/node"
	"meshvm.io/meshvm/test/cluster/progress"
)

func TestLayout(t *testing.T) {
	t.Setenv(progress.CacheEnv, t.TempDir())
	first, err := Options{}.layout()
	if err != nil {
		t.Fatal(err)
	}
	if got := first.host.String() + " " + first.node.String() + " " + first.link; got != "10.250.0.1/24 10.250.0.2/24 mvm-meshvm" {
		t.Errorf("layout of the default cluster: %s", got)
	}
	second, err := Options{Name: "a-rather-long-name-of-a-cluster"}.layout()
	if err != nil {
		t.Fatal(err)
	}
	if len(second.link) > 15 || second.link == first.link || second.host == first.host || second.state == first.state || second.cgroup == first.cgroup {
		t.Errorf("layouts overlap: %+v and %+v", first, second)
	}
	other := node.Config{State: second.state, Address: "10.9.8.2/28"}
	if err := errors.Join(os.MkdirAll(other.State, 0o700), other.Save()); err != nil {
		t.Fatal(err)
	}
	again, err := Options{Name: second.name}.layout()
	if err != nil || again.host.String() != "10.9.8.1/28" || again.node.String() != "10.9.8.2/28" {
		t.Errorf("the subnet of an existing cluster changed: %+v, %v", again, err)
	}
	for _, o := range []Options{
		{Name: "Upper"},
		{Name: "../up"},
		{Name: strings.Repeat("a", 41)},
		{Subnet: "10.0.0.0"},
		{Subnet: "10.0.0.0/31"},
		{Subnet: "fd00::/64"},
	} {
		if _, err := o.layout(); err == nil {
			t.Errorf("%+v was accepted", o)
		}
	}
}

func TestForgetOlder(t *testing.T) {
	for name, tc := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"nothing":           {},
		"of this version":   {files: map[string]string{"format": stateFormat, "pki": "x"}},
		"without a format":  {files: map[string]string{"pki": "x"}, want: true},
		"of another format": {files: map[string]string{"format": "1", "pki": "x"}, want: true},
	} {
		t.Run(name, func(t *testing.T) {
			l := layout{name: "forget", state: t.TempDir()}
			for file, text := range tc.files {
				if err := os.WriteFile(filepath.Join(l.state, file), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := l.forgetOlder()
			if err != nil || got != tc.want {
				t.Fatalf("forgot: %t, %v", got, err)
			}
			if _, err := os.Stat(filepath.Join(l.state, "pki")); (err == nil) == (tc.want || len(tc.files) == 0) {
				t.Errorf("the state: %v", err)
			}
			if again, err := l.forgetOlder(); again || err != nil {
				t.Errorf("the state was removed again: %t, %v", again, err)
			}
		})
	}
}
