// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"meshvm.io/meshvm/test/cluster/progress"
)

// compilerEnv makes the Go compiler and linker collect garbage less often
// within a memory limit, which saves about 7 % of the processor time.
var compilerEnv = []string{"GOGC=400", "GOMEMLIMIT=3GiB"}

// buildFlags are the flags of all programs. Programs that have the same flags
// share compiled packages in Go's cache, so these are also the flags of the
// operator's images (hack/images/release). The linker strips debug information,
// so the compiler does not write it.
var buildFlags = []string{"-v", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false"}

// goBuild links a static, stripped program.
func (b *Builder) goBuild(ctx context.Context, dir, out, pkg, tags string, x []string, env ...string) error {
	ldflags := []string{"-s", "-w"}
	for _, v := range x {
		ldflags = append(ldflags, "-X", v)
	}
	args := append([]string{"build"}, buildFlags...)
	args = append(args, "-ldflags", strings.Join(ldflags, " "), "-o", out)
	if tags != "" {
		args = append(args, "-tags", tags)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, pkg)...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(os.Environ(), compilerEnv, env, []string{"CGO_ENABLED=0", "GOWORK=off"})
	var all strings.Builder
	cmd.Stdout, cmd.Stderr = &all, io.MultiWriter(&all, packagesTo(ctx))
	err := cmd.Run()
	used(ctx, cmd)
	if err != nil {
		return fmt.Errorf("%s: %w\n%s", strings.Join(cmd.Args, " "), err, tail(all.String()))
	}
	return nil
}

// packagesTo returns a writer for the output of go build -v, which counts the
// packages for the step of the context.
func packagesTo(ctx context.Context) io.Writer {
	step, ok := ctx.Value(stepKey{}).(progress.Step)
	if !ok {
		return io.Discard
	}
	return progress.Lines(func(line string) {
		if progress.IsPackage(line) {
			step.Compiled(line)
		}
	})
}

// used adds the processor time of a completed command to the step of the
// context.
func used(ctx context.Context, cmd *exec.Cmd) {
	if step, ok := ctx.Value(stepKey{}).(progress.Step); ok && cmd.ProcessState != nil {
		step.Used(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime())
	}
}

// moduleKey returns the digest of a nested module's requirements and sources.
func (b *Builder) moduleKey(module string) (string, error) {
	dir := filepath.Join(b.Repo, module)
	sources, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil {
		return "", err
	}
	nested, err := filepath.Glob(filepath.Join(dir, "cmd", "*", "*.go"))
	if err != nil {
		return "", err
	}
	return fileDigest(append(append(sources, nested...), filepath.Join(dir, "go.mod"), filepath.Join(dir, "go.sum"))...)
}

func (b *Builder) moduleVersion(ctx context.Context, module, path string) (string, error) {
	return b.goList(ctx, module, "-m", "-f", "{{.Version}}", path)
}

// moduleDir returns the directory of the module's sources. It downloads them if
// they do not exist.
func (b *Builder) moduleDir(ctx context.Context, module, path string) (string, error) {
	if dir, err := b.goList(ctx, module, "-m", "-f", "{{.Dir}}", path); err == nil && dir != "" {
		return dir, nil
	}
	b.Logf("downloading module %s", path)
	if err := run(ctx, filepath.Join(b.Repo, module), nil, "go", "mod", "download", path); err != nil {
		return "", err
	}
	return b.goList(ctx, module, "-m", "-f", "{{.Dir}}", path)
}

// goList returns the output of go list in a module. Output that is not empty is
// cached, because it does not change while the program runs.
func (b *Builder) goList(ctx context.Context, module string, args ...string) (string, error) {
	key := module + " " + strings.Join(args, " ")
	if known, ok := b.listed.Load(key); ok {
		return known.(string), nil //nolint:forcetypeassert // only strings are stored
	}
	out, err := output(ctx, filepath.Join(b.Repo, module), []string{"GOWORK=off"}, "go", append([]string{"list"}, args...)...)
	out = strings.TrimSpace(out)
	if err == nil && out != "" {
		b.listed.Store(key, out)
	}
	return out, err
}

// Prefetch downloads the modules of all upstream programs of the cluster. The
// network is idle while programs are compiled.
func (b *Builder) Prefetch(ctx context.Context) error {
	for _, t := range []struct {
		module, tags string
		packages     []string
	}{
		{kubevirtModule, kubevirtTags, []string{kubevirtCommands + "virt-launcher", kubevirtCommands + "virt-handler", kubevirtCommands + "virt-operator"}},
		{istioModule, istioTags, []string{tools["pilot-discovery"].pkg, tools["pilot-agent"].pkg, tools["charts"].pkg}},
		{corednsModule, "", []string{"."}},
		{".", "", []string{"./cmd/manager"}},
	} {
		var out bytes.Buffer
		cmd := exec.CommandContext(ctx, "go", append([]string{"list", "-e", "-deps", "-tags", t.tags}, t.packages...)...)
		cmd.Dir = filepath.Join(b.Repo, t.module)
		cmd.Env = append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0")
		cmd.Stderr = &out
		if err := cmd.Run(); err != nil {
			return fmt.Errorf("download the modules of %s: %w\n%s", t.module, err, tail(out.String()))
		}
	}
	return nil
}
