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

// Directories of the modules of upstream programs.
const (
	kubernetesModule = "test/upstream/kubernetes"
	kubevirtModule   = "test/upstream/kubevirt"
	istioModule      = "test/upstream/istio"
	// previousIstioModule is the minor version before that of istioModule. Only tests of
	// the configuration that istiod generates use it.
	previousIstioModule = "test/upstream/istio-previous"
	corednsModule       = "test/upstream/coredns"
	// chartModule tests the operator's Helm chart with Helm.
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
	"kube":                     {module: kubernetesModule, pkg: "."},
	"pilot-agent":              {module: istioModule, pkg: "istio.io/istio/pilot/cmd/pilot-agent", tags: istioTags},
	"pilot-discovery":          {module: istioModule, pkg: "istio.io/istio/pilot/cmd/pilot-discovery", tags: istioTags},
	"pilot-discovery-previous": {module: previousIstioModule, pkg: "istio.io/istio/pilot/cmd/pilot-discovery", tags: istioTags},
	"ambient":                  {module: istioModule, pkg: "./cmd/ambient", tags: istioTags},
	"charts":                   {module: istioModule, pkg: "./cmd/charts", tags: istioTags},
	"coredns":                  {module: corednsModule, pkg: "."},
	"masquerade":               {module: kubevirtModule, pkg: "./cmd/masquerade"},
	"crds":                     {module: kubevirtModule, pkg: "./cmd/crds"},
	"helm":                     {module: chartModule, pkg: "helm.sh/helm/v4/cmd/helm"},
}

// istioTags omit the generated validation of Envoy's messages, like Istio's
// release builds.
const istioTags = "disable_pgv"

// kubevirtCommands is the path of KubeVirt's programs.
const kubevirtCommands = "kubevirt.io/kubevirt/cmd/"

// kubevirtTags make the packages net and os/user independent of cgo, so that
// packages that import them are compiled once for programs with and without cgo.
const kubevirtTags = "netgo,osusergo"

// kubevirtPrograms are linked without cgo. virt-launcher and virt-handler
// require libvirt (see cgoPrograms).
var kubevirtPrograms = []string{
	"virt-operator", "virt-api", "virt-controller", "virt-launcher-monitor",
	"virt-chroot", "virt-freezer", "virt-probe", "virt-tail",
}

// Tools returns the names of the programs that Tool builds.
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

// Tool returns the path of an upstream program. It builds the program unless it
// is cached.
func (b *Builder) Tool(ctx context.Context, name string) (string, error) {
	if name == "envoy" {
		return b.Envoy(ctx)
	}
	t, ok := tools[name]
	if !ok && slices.Contains(kubevirtPrograms, name) {
		t, ok = tool{module: kubevirtModule, pkg: kubevirtCommands + name, tags: kubevirtTags}, true
	}
	if !ok {
		return "", fmt.Errorf("unknown upstream program %q: use one of %s", name, strings.Join(Tools(), ", "))
	}
	var err error
	switch {
	case name == "kube":
		t.x, err = b.kubernetesVersion(ctx)
	case t.module == istioModule, t.module == previousIstioModule:
		t.x, err = b.istioVersion(ctx, t.module)
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

// kubernetesVersion returns the linker variables by which the programs report the
// version of their module.
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

// istioVersion returns the linker variable by which Istio's programs report their
// version.
func (b *Builder) istioVersion(ctx context.Context, module string) ([]string, error) {
	version, err := b.versionIn(ctx, module)
	return []string{"istio.io/istio/pkg/version.buildVersion=" + version}, err
}

// IstioVersion returns the version of Istio's programs: the release in the module's
// file VERSION and the commit, for example 1.31-eed52ebb66ad.
func (b *Builder) IstioVersion(ctx context.Context) (string, error) {
	return b.versionIn(ctx, istioModule)
}

// versionIn is IstioVersion for the programs of a module.
func (b *Builder) versionIn(ctx context.Context, module string) (string, error) {
	const path = "istio.io/istio"
	dir, err := b.moduleDir(ctx, module, path)
	if err != nil {
		return "", err
	}
	release, err := os.ReadFile(filepath.Join(dir, "VERSION"))
	if err != nil {
		return "", err
	}
	version, err := b.moduleVersion(ctx, module, path)
	return strings.TrimSpace(string(release)) + "-" + version[strings.LastIndexByte(version, '-')+1:], err
}

// Program builds a static program of the project for Linux, for example
// ./cmd/manager, and returns its path. Go's cache decides whether it is compiled.
// The path is different for each checkout.
func (b *Builder) Program(ctx context.Context, pkg string) (string, error) {
	return b.own(ctx, filepath.Join(b.Cache, "own", digest(b.Repo), filepath.Base(pkg)), pkg, "linux")
}

// ProgramFor is Program for an architecture with Go's name.
func (b *Builder) ProgramFor(ctx context.Context, pkg, arch string) (string, error) {
	if arch == runtime.GOARCH {
		return b.Program(ctx, pkg)
	}
	return b.own(ctx, filepath.Join(b.Cache, "own", digest(b.Repo), arch, filepath.Base(pkg)), pkg, "linux", "GOARCH="+arch)
}

// HostProgram is Program for the system that this program runs on.
func (b *Builder) HostProgram(ctx context.Context, pkg string) (string, error) {
	return b.own(ctx, filepath.Join(b.Cache, "own", digest(b.Repo), runtime.GOOS, filepath.Base(pkg)), pkg, runtime.GOOS)
}

func (b *Builder) own(ctx context.Context, out, pkg, system string, env ...string) (string, error) {
	tmp := fmt.Sprintf("%s.%d", out, os.Getpid())
	dir, pkg := b.moduleOf(pkg)
	if err := b.goBuild(ctx, dir, tmp, pkg, "", nil, append(env, "GOOS="+system)...); err != nil {
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

// EnvtestEnv is the environment variable with the directory of the programs of
// controller-runtime's envtest.
const EnvtestEnv = "KUBEBUILDER_ASSETS"

// EnvtestAssets returns a directory with etcd, kube-apiserver,
// kube-controller-manager and kubectl. If $KUBEBUILDER_ASSETS is set, it
// returns that directory.
func (b *Builder) EnvtestAssets(ctx context.Context) (string, error) {
	if dir := os.Getenv(EnvtestEnv); dir != "" {
		for _, name := range []string{"etcd", "kube-apiserver"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				return "", fmt.Errorf("%s: %w (unset it to build the programs)", EnvtestEnv, err)
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
