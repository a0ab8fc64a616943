// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// kernelModules returns the directory of a kernel's modules in an unpacked package.
func kernelModules(root, version string) (string, error) {
	for _, lib := range []string{"usr/lib", "lib"} {
		dir := filepath.Join(root, lib, "modules", version)
		if _, err := os.Stat(filepath.Join(dir, "modules.dep")); err == nil {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no modules.dep of kernel %s below %s", version, root)
}

// moduleOrder returns the files of the requested modules and of their
// dependencies, each after its dependencies. It omits modules that are built
// into the kernel.
func moduleOrder(dir string, wanted []string) ([]string, error) {
	dep, err := os.ReadFile(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	needs := map[string][]string{} // by path
	paths := map[string]string{}   // by name
	for line := range strings.Lines(string(dep)) {
		path, deps, ok := strings.Cut(strings.TrimSpace(line), ":")
		if !ok {
			continue
		}
		needs[path] = strings.Fields(deps)
		paths[moduleName(path)] = path
	}
	inKernel := map[string]bool{}
	for line := range strings.Lines(string(builtin)) {
		inKernel[moduleName(strings.TrimSpace(line))] = true
	}
	var order []string
	var add func(path string)
	add = func(path string) {
		if slices.Contains(order, filepath.Join(dir, path)) {
			return
		}
		for _, d := range needs[path] {
			add(d)
		}
		order = append(order, filepath.Join(dir, path))
	}
	for _, name := range wanted {
		if path, ok := paths[name]; ok {
			add(path)
		} else if !inKernel[name] {
			return nil, fmt.Errorf("kernel in %s has no module %s", dir, name)
		}
	}
	return order, nil
}

// moduleName returns the name in the kernel of a module file.
func moduleName(path string) string {
	name, _, _ := strings.Cut(filepath.Base(path), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
