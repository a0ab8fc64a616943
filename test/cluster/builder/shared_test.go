// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sharing lists the modules whose programs share compiled packages.
var sharing = []string{".", "test", kubernetesModule, istioModule, corednsModule}

// requirements returns the versions in a go.mod file by module path.
func requirements(t *testing.T, file string) map[string]string {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close() //nolint:errcheck // only read
	out := map[string]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line, _, _ := strings.Cut(lines.Text(), "//")
		fields := strings.Fields(strings.TrimPrefix(strings.TrimSpace(line), "require "))
		if len(fields) == 2 && strings.Contains(fields[0], ".") && strings.HasPrefix(fields[1], "v") {
			out[fields[0]] = fields[1]
		}
	}
	if len(out) < 20 {
		t.Fatalf("%s requires only %d modules", file, len(out))
	}
	return out
}

// TestSharedModules checks that programs require the same versions of shared
// modules. A module that is required in two versions is compiled twice,
// together with all packages that import it.
func TestSharedModules(t *testing.T) {
	repo, err := FindRepo()
	if err != nil {
		t.Fatal(err)
	}
	type use struct{ dir, version string }
	first := map[string]use{}
	for _, dir := range sharing {
		for path, version := range requirements(t, filepath.Join(repo, dir, "go.mod")) {
			before, ok := first[path]
			if !ok {
				first[path] = use{dir, version}
				continue
			}
			if before.version != version {
				t.Errorf("%s: %s requires %s, %s requires %s; use the newer one in both: go -C DIRECTORY get %s@VERSION",
					path, before.dir, before.version, dir, version, path)
			}
		}
	}
}
