// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
)

// The nested modules of upstream programs, below the repository's root.
const (
	kubernetesModule = "test/upstream/kubernetes"
	kubevirtModule   = "test/upstream/kubevirt"
	istioModule      = "test/upstream/istio"
	corednsModule    = "test/upstream/coredns"
	// chartModule makes the operator's Helm chart, and tests it with Helm.
	chartModule = "hack/helm"
)

// tool describes a program that one command builds without cgo.
type tool struct {
	module string // directory below the repository
	pkg    string
	tags   string
	x      []string // -X variables of the linker
}

// tools are the upstream programs that run outside of images, by name.
var tools = map[string]tool{
	"kube":            {module: kubernetesModule, pkg: "."},
	"pilot-agent":     {module: istioModule, pkg: "istio.io/istio/pilot/cmd/pilot-agent"},
	"pilot-discovery": {module: istioModule, pkg: "istio.io/istio/pilot/cmd/pilot-discovery"},
	"ambient":         {module: istioModule, pkg: "./cmd/ambient"},
	"charts":          {module: istioModule, pkg: "./cmd/charts"},
	"coredns":         {module: corednsModule, pkg: "."},
	"masquerade":      {module: kubevirtModule, pkg: "./cmd/masquerade"},
	"crds":            {module: kubevirtModule, pkg: "./cmd/crds"},
	"helm":            {module: chartModule, pkg: "helm.sh/helm/v4/cmd/helm"},
}

// netgo and osusergo make packages that import net and os/user the same with
// and without cgo, so that they are compiled once for both kinds of programs.
const kubevirtTags = "netgo,osusergo"

// kubevirtPrograms are linked without cgo; virt-launcher and virt-handler need
// libvirt (see cgoPrograms).
var kubevirtPrograms = []string{
	"virt-operator", "virt-api", "virt-controller", "virt-launcher-monitor",
	"virt-chroot", "virt-freezer", "virt-probe", "virt-tail",
}

// Tools lists the names that Tool knows.
func Tools() []string {
	names := make([]string, 0, len(tools)+len(kubevirtPrograms))
	for n := range tools {
		names = append(names, n)
	}
	names = append(names, kubevirtPrograms...)
	names = append(names, "envoy")
	slices.Sort(names)
	return names
}

// Tool returns the path of an upstream program, built when it is not cached.
func (b *Builder) Tool(ctx context.Context, name string) (string, error) {
	if name == "envoy" {
		return b.Envoy(ctx)
	}
	t, ok := tools[name]
	if !ok && slices.Contains(kubevirtPrograms, name) {
		t, ok = tool{module: kubevirtModule, pkg: "kubevirt.io/kubevirt/cmd/" + name, tags: kubevirtTags}, true
	}
	if !ok {
		return "", fmt.Errorf("no upstream program %q; there are %s", name, strings.Join(Tools(), ", "))
	}
	var err error
	switch {
	case name == "kube":
		t.x, err = b.kubernetesVersion(ctx)
	case t.module == istioModule:
		t.x, err = b.istioVersion(ctx)
	}
	if err != nil {
		return "", err
	}
	key, err := b.moduleKey(t.module)
	if err != nil {
		return "", err
	}
	return b.product(ctx, filepath.Join("bin", name), []string{key, t.pkg, t.tags, strings.Join(t.x, " ")},
		func(ctx context.Context, path string) error {
			return b.goBuild(ctx, filepath.Join(b.Repo, t.module), path, t.pkg, t.tags, t.x)
		})
}

// moduleKey is the digest of a nested module's requirements and own sources.
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

// goBuild links a static, stripped program.
func (b *Builder) goBuild(ctx context.Context, dir, out, pkg, tags string, x []string, env ...string) error {
	ldflags := []string{"-s", "-w"}
	for _, v := range x {
		ldflags = append(ldflags, "-X", v)
	}
	args := []string{"build", "-trimpath", "-buildvcs=false", "-ldflags", strings.Join(ldflags, " "), "-o", out}
	if tags != "" {
		args = append(args, "-tags", tags)
	}
	return run(ctx, dir, append(env, "CGO_ENABLED=0", "GOWORK=off"), "go", append(args, pkg)...)
}

// kubernetesVersion makes the programs report the version of their module.
func (b *Builder) kubernetesVersion(ctx context.Context) ([]string, error) {
	version, err := b.moduleVersion(ctx, kubernetesModule, "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	parts := strings.SplitN(strings.TrimPrefix(version, "v"), ".", 3)
	const base = "k8s.io/component-base/version."
	return []string{
		base + "gitVersion=" + version,
		base + "gitMajor=" + parts[0],
		base + "gitMinor=" + parts[1],
		base + "gitTreeState=clean",
		base + "buildDate=1970-01-01T00:00:00Z",
		"k8s.io/client-go/pkg/version.gitVersion=" + version,
	}, nil
}

// istioVersion makes Istio's programs report their version: the release that the
// module's file VERSION names, and the module's own version.
func (b *Builder) istioVersion(ctx context.Context) ([]string, error) {
	version, err := b.IstioVersion(ctx)
	return []string{"istio.io/istio/pkg/version.buildVersion=" + version}, err
}

// IstioVersion is what Istio's programs call themselves here, for example
// 1.31-eed52ebb66ad: the release that is being made, and the commit.
func (b *Builder) IstioVersion(ctx context.Context) (string, error) {
	const path = "istio.io/istio"
	dir, err := b.moduleDir(ctx, istioModule, path)
	if err != nil {
		return "", err
	}
	release, err := os.ReadFile(filepath.Join(dir, "VERSION"))
	if err != nil {
		return "", err
	}
	version, err := b.moduleVersion(ctx, istioModule, path)
	return strings.TrimSpace(string(release)) + "-" + version[strings.LastIndexByte(version, '-')+1:], err
}

func (b *Builder) moduleVersion(ctx context.Context, module, path string) (string, error) {
	return b.goList(ctx, module, "-m", "-f", "{{.Version}}", path)
}

// moduleDir is where the module's sources are, downloaded if needed.
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

func (b *Builder) goList(ctx context.Context, module string, args ...string) (string, error) {
	out, err := output(ctx, filepath.Join(b.Repo, module), []string{"GOWORK=off"}, "go", append([]string{"list"}, args...)...)
	return strings.TrimSpace(out), err
}

// Program builds a static program of the project itself for Linux, for example
// ./cmd/manager. Go's own cache decides what there is to do; the file's name
// stays the same, and is another one in each checkout.
func (b *Builder) Program(ctx context.Context, pkg string) (string, error) {
	return b.own(ctx, filepath.Join(b.Cache, "own", digest(b.Repo), filepath.Base(pkg)), pkg, "linux")
}

// HostProgram is Program for the system that this program runs on.
func (b *Builder) HostProgram(ctx context.Context, pkg string) (string, error) {
	return b.own(ctx, filepath.Join(b.Cache, "own", digest(b.Repo), runtime.GOOS, filepath.Base(pkg)), pkg, runtime.GOOS)
}

func (b *Builder) own(ctx context.Context, out, pkg, system string) (string, error) {
	tmp := fmt.Sprintf("%s.%d", out, os.Getpid())
	dir, pkg := b.moduleOf(pkg)
	if err := b.goBuild(ctx, dir, tmp, pkg, "", nil, "GOOS="+system); err != nil {
		return "", err
	}
	return out, os.Rename(tmp, out)
}

// moduleOf returns the directory of the module that contains a package of the
// checkout, and the package's path within that module.
func (b *Builder) moduleOf(pkg string) (dir, within string) {
	if rest, ok := strings.CutPrefix(pkg, "./test/"); ok {
		return filepath.Join(b.Repo, "test"), "./" + rest
	}
	return b.Repo, pkg
}

// EnvtestEnv is the variable by which controller-runtime's envtest finds its programs.
const EnvtestEnv = "KUBEBUILDER_ASSETS"

// EnvtestAssets returns a directory with etcd, kube-apiserver,
// kube-controller-manager and kubectl. An existing $KUBEBUILDER_ASSETS is taken
// as it is.
func (b *Builder) EnvtestAssets(ctx context.Context) (string, error) {
	if dir := os.Getenv(EnvtestEnv); dir != "" {
		for _, name := range []string{"etcd", "kube-apiserver"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				return "", fmt.Errorf("%s: %w (unset it to have the programs built)", EnvtestEnv, err)
			}
		}
		return dir, nil
	}
	kube, err := b.Tool(ctx, "kube")
	if err != nil {
		return "", err
	}
	return b.product(ctx, "envtest", []string{kube}, func(_ context.Context, dir string) error {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		for _, name := range []string{"etcd", "kube-apiserver", "kube-controller-manager", "kubectl"} {
			if err := os.Symlink(kube, filepath.Join(dir, name)); err != nil {
				return err
			}
		}
		return nil
	})
}
