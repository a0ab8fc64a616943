// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/hack/images/oci"
)

// Names of the images that contain KubeVirt's programs. Both contain the same
// files. virt-operator, virt-api and virt-controller require a numeric user that
// is not root. virt-handler and virt-launcher require root.
const (
	KubeVirtImage     = "localhost/meshvm-test/virt:dev"
	KubeVirtRootImage = "localhost/meshvm-test/virt-root:dev"
)

// virtqemud replaces libvirt's modular daemon, which KubeVirt expects. Debian has
// only the monolithic libvirtd. The script starts a copy of it with the name that
// KubeVirt searches among the processes, and links the modular daemon's names to
// its sockets.
const virtqemud = `#!/bin/sh
if [ "$(id -u)" = 0 ]; then dir=/run/libvirt; else dir=${XDG_RUNTIME_DIR:-/var/run}/libvirt; fi
mkdir -p "$dir"
ln -sfn libvirt-sock "$dir/virtqemud-sock"
ln -sfn libvirt-admin-sock "$dir/virtqemud-admin-sock"
exec /usr/libexec/virtqemud "$@"
`

// cgoPrograms returns a directory with the programs that need a C compiler:
// virt-launcher and virt-handler (libvirt's headers) and KubeVirt's
// container-disk, which is static because it runs in the guest's image.
func (b *Builder) cgoPrograms(ctx context.Context) (string, error) {
	upper, base, err := b.overlayRoot(ctx, "build", buildPackages)
	if err != nil {
		return "", err
	}
	key, err := b.moduleKey(kubevirtModule)
	if err != nil {
		return "", err
	}
	return b.product(ctx, "bin/kubevirt-cgo", []string{key, upper, "2"}, func(ctx context.Context, dir string) error {
		// The modules are downloaded on the host. The root does not need the network.
		programs := []string{kubevirtCommands + "virt-launcher", kubevirtCommands + "virt-handler"}
		list := append([]string{"list", "-deps", "-tags", kubevirtTags}, programs...)
		if err := run(ctx, filepath.Join(b.Repo, kubevirtModule), []string{"CGO_ENABLED=1", "GOWORK=off"}, "go", list...); err != nil {
			return err
		}
		source, err := b.moduleDir(ctx, kubevirtModule, "kubevirt.io/kubevirt")
		if err != nil {
			return err
		}
		c, err := b.goRoot(ctx, upper, base, dir)
		if err != nil {
			return err
		}
		build := slices.Concat([]string{"build"}, buildFlags,
			[]string{"-tags", kubevirtTags, "-ldflags", "-s -w", "-o", "/out/"}, programs)
		if err := c.run(ctx, "go", build...); err != nil {
			return err
		}
		return c.run(ctx, "gcc", "-O2", "-static", "-o", "/out/container-disk",
			filepath.Join(source, "cmd/container-disk-v2alpha/main.c"))
	})
}

// goRoot returns the build root with the host's Go, its caches and the checkout
// at their paths on the host, and with out at /out. Other files that a build
// writes are discarded.
func (b *Builder) goRoot(ctx context.Context, upper, base, out string) (chroot, error) {
	if err := os.MkdirAll(out, 0o755); err != nil {
		return chroot{}, err
	}
	raw, err := output(ctx, b.Repo, nil, "go", "env", "GOROOT", "GOMODCACHE", "GOCACHE")
	if err != nil {
		return chroot{}, err
	}
	paths := strings.Fields(raw)
	if len(paths) != 3 {
		return chroot{}, fmt.Errorf("go env printed %q", raw)
	}
	c := chroot{
		lower: []string{upper, base}, upper: out + ".changes", dir: filepath.Join(b.Repo, kubevirtModule),
		binds: map[string]string{out: "/out", b.Repo: b.Repo},
	}
	for _, p := range paths {
		c.binds[p] = p
	}
	c.env = append(slices.Clone(compilerEnv),
		"PATH="+paths[0]+"/bin:/usr/sbin:/usr/bin:/sbin:/bin", "GOROOT="+paths[0], "GOMODCACHE="+paths[1], "GOCACHE="+paths[2],
		"CGO_ENABLED=1", "GOWORK=off", "GOPROXY=off", "GOTOOLCHAIN=local", "GOFLAGS=-mod=readonly")
	return c, os.MkdirAll(c.upper, 0o755)
}

// baseLayer returns the path of the tar file of the Debian base, without caches
// and documentation.
func (b *Builder) baseLayer(ctx context.Context) (string, error) {
	base, err := b.baseRoot(ctx)
	if err != nil {
		return "", err
	}
	drop := []string{
		"debootstrap", "var/cache/apt", "var/lib/apt/lists", "var/log/apt",
		"usr/share/doc", "usr/share/man", "usr/share/locale", "usr/share/info",
	}
	return b.product(ctx, "layers/base", append([]string{base}, drop...), func(_ context.Context, path string) error {
		return oci.WriteLayer(path, func(l *oci.Layer) error {
			return l.Tree(base, func(rel string) bool {
				if slices.Contains(drop, rel) {
					return true
				}
				top, rest, _ := strings.Cut(rel, "/")
				return rest != "" && (top == "proc" || top == "sys" || top == "dev")
			})
		})
	})
}

// KubeVirtImages returns the path of an archive with KubeVirtImage and
// KubeVirtRootImage.
func (b *Builder) KubeVirtImages(ctx context.Context) (string, error) {
	base, err := b.baseLayer(ctx)
	if err != nil {
		return "", err
	}
	cgo, err := b.cgoPrograms(ctx)
	if err != nil {
		return "", err
	}
	files := map[string]string{}
	for _, name := range []string{"virt-launcher", "virt-handler", "container-disk"} {
		files[name] = filepath.Join(cgo, name)
	}
	inputs := []string{base, cgo, virtqemud, "1"}
	for _, name := range kubevirtPrograms {
		if files[name], err = b.Tool(ctx, name); err != nil {
			return "", err
		}
		inputs = append(inputs, files[name])
	}
	return b.product(ctx, "images/kubevirt", inputs, func(ctx context.Context, path string) error {
		layer := path + ".layer"
		defer os.Remove(layer) //nolint:errcheck // it is in the archive
		if err := b.kubevirtLayer(ctx, layer, files); err != nil {
			return err
		}
		return oci.WriteFile(path,
			oci.Image{Name: KubeVirtImage, User: "1001:1001", Layers: []string{base, layer}},
			oci.Image{Name: KubeVirtRootImage, User: "0:0", Layers: []string{base, layer}})
	})
}

// kubevirtLayer writes a layer with KubeVirt's programs and configuration files.
// The paths are those of cmd/virt-launcher/BUILD.bazel and
// cmd/virt-handler/BUILD.bazel of KubeVirt.
func (b *Builder) kubevirtLayer(ctx context.Context, path string, programs map[string]string) error {
	base, err := b.baseRoot(ctx)
	if err != nil {
		return err
	}
	source, err := b.moduleDir(ctx, kubevirtModule, "kubevirt.io/kubevirt")
	if err != nil {
		return err
	}
	launcher := filepath.Join(source, "cmd/virt-launcher")
	return oci.WriteLayer(path, func(l *oci.Layer) error {
		for name, from := range programs {
			var caps []int
			if name == "virt-launcher-monitor" {
				caps = []int{unix.CAP_NET_BIND_SERVICE}
			}
			if err := l.File("usr/bin/"+name, 0o755, from, caps...); err != nil {
				return err
			}
		}
		copies := []struct {
			to, from string
			mode     int64
		}{
			{"usr/bin/node-labeller.sh", filepath.Join(launcher, "node-labeller/node-labeller.sh"), 0o755},
			{"etc/libvirt/qemu.conf", filepath.Join(launcher, "qemu.conf"), 0o644},
			{"etc/libvirt/virtqemud.conf", filepath.Join(launcher, "virtqemud.conf"), 0o644},
			{"etc/libvirt/hooks/qemu", filepath.Join(launcher, "qemu"), 0o755},
			{"etc/nsswitch.conf", filepath.Join(launcher, "nsswitch.conf"), 0o644},
			{"usr/libexec/virtqemud", filepath.Join(base, "usr/sbin/libvirtd"), 0o755},
		}
		for _, c := range copies {
			if err := l.File(c.to, c.mode, c.from); err != nil {
				return err
			}
		}
		if err := l.Bytes("usr/sbin/virtqemud", 0o755, []byte(virtqemud)); err != nil {
			return err
		}
		return kubevirtAccounts(l, base)
	})
}

// kubevirtAccounts adds the user of QEMU and the directories that the programs
// expect.
func kubevirtAccounts(l *oci.Layer, base string) error {
	for name, line := range map[string]string{
		"etc/passwd": "qemu:x:107:107::/home/qemu:/bin/bash\n",
		"etc/group":  "qemu:x:107:\n",
	} {
		raw, err := os.ReadFile(filepath.Join(base, name))
		if err != nil {
			return err
		}
		if err := l.Bytes(name, 0o644, append(raw, line...)); err != nil {
			return err
		}
	}
	for _, d := range []string{"usr/share/kubevirt", "usr/lib64/qemu-kvm", "etc/virt-handler", "pods", "var/lib/kubevirt-node-labeller"} {
		if err := l.Dir(d, 0o755); err != nil {
			return err
		}
	}
	l.UID, l.GID = 107, 107
	defer func() { l.UID, l.GID = 0, 0 }()
	return l.Dir("home/qemu", 0o755)
}
