// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"math"
	"os"
	"path/filepath"
	"strings"

	"meshvm.io/meshvm/hack/images/oci"
)

// GuestImage contains a kernel and an initial RAM file system for KubeVirt's
// kernelBoot, at GuestKernel and GuestInitrd.
const (
	GuestImage  = "localhost/meshvm/guest:dev"
	GuestKernel = "/boot/vmlinuz"
	GuestInitrd = "/boot/initrd"
)

// guestModules are the drivers that the guest needs. Their dependencies are read
// from modules.dep.
var guestModules = []string{"virtio_pci", "virtio_net"}

// guestInit is the init program of the guest.
const guestInit = `#!/bin/sh
busybox mount -t proc none /proc
busybox mount -t sysfs none /sys
busybox mount -t devtmpfs none /dev
while read module; do busybox insmod "/modules/$module" || echo "cannot load $module"; done </modules/order
busybox ip link set lo up
n=0
while [ ! -e /sys/class/net/eth0 ] && [ $n -lt 100 ]; do busybox sleep 0.1; n=$((n+1)); done
busybox ip link set eth0 up
busybox hostname guest
busybox udhcpc -i eth0 -s /udhcpc -t 30 -T 1 -b -S
exec /guest </dev/console >/dev/console 2>&1
`

// guestLease is the script that applies a lease of the DHCP server.
const guestLease = `#!/bin/sh
case "$1" in bound|renew)
  busybox ip addr flush dev $interface
  busybox ip addr add $ip/${mask:-24} dev $interface
  [ -n "$mtu" ] && busybox ip link set dev $interface mtu $mtu
  for r in $router; do busybox ip route add default via $r; done
  for d in $dns; do echo "nameserver $d"; done >/etc/resolv.conf
  echo "guest: address $ip";;
esac
`

// guestKernel returns a directory with the files of busybox and of Debian's
// kernel for virtual machines.
func (b *Builder) guestKernel(ctx context.Context) (string, error) {
	upper, base, err := b.overlayRoot(ctx, "build", buildPackages)
	if err != nil {
		return "", err
	}
	return b.product(ctx, "guest-kernel", []string{base, "1"}, func(ctx context.Context, dir string) error {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(dir+".changes", 0o755)); err != nil {
			return err
		}
		defer os.RemoveAll(dir + ".changes") //nolint:errcheck // scratch
		c := chroot{lower: []string{upper, base}, upper: dir + ".changes", binds: map[string]string{dir: "/out"}}
		const script = `set -e
cd /out
apt-get -q update
kernel=$(apt-cache depends linux-image-cloud-$(dpkg --print-architecture) | sed -n 's/.*Depends: \(linux-image-[^ ]*\)$/\1/p' | head -n 1)
apt-get -q -o APT::Sandbox::User=root download "$kernel" busybox-static
for deb in *.deb; do dpkg -x "$deb" /out; rm "$deb"; done
[ -e lib ] || ln -s usr/lib lib
find /out/lib/modules/ -name '*.ko.xz' -exec xz -d {} +
depmod -b /out "${kernel#linux-image-}"
`
		return c.run(ctx, "sh", "-c", script)
	})
}

// GuestImageArchive returns the path of an archive with GuestImage.
func (b *Builder) GuestImageArchive(ctx context.Context) (string, error) {
	root, err := b.guestKernel(ctx)
	if err != nil {
		return "", err
	}
	guest, err := b.Program(ctx, "./test/cluster/programs/guest")
	if err != nil {
		return "", err
	}
	sum, err := fileDigest(guest)
	if err != nil {
		return "", err
	}
	return b.product(ctx, "images/guest", []string{root, sum, guestInit, guestLease, "2"}, func(_ context.Context, path string) error {
		kernels, err := filepath.Glob(filepath.Join(root, "boot/vmlinuz-*"))
		if err != nil || len(kernels) != 1 {
			return fmt.Errorf("want one kernel below %s/boot, found %v (%w)", root, kernels, err)
		}
		kernel, err := os.ReadFile(kernels[0])
		if err != nil {
			return err
		}
		version := strings.TrimPrefix(filepath.Base(kernels[0]), "vmlinuz-")
		initrd, err := guestInitrd(root, version, guest)
		if err != nil {
			return err
		}
		layer := path + ".layer"
		defer os.Remove(layer) //nolint:errcheck // it is in the archive
		err = oci.WriteLayer(layer, func(l *oci.Layer) error {
			l.UID, l.GID = 107, 107 // KubeVirt reads the file as the user of QEMU.
			return errors.Join(l.Bytes(GuestKernel, 0o644, padChecksum(kernel)), l.Bytes(GuestInitrd, 0o644, padChecksum(initrd)))
		})
		if err != nil {
			return err
		}
		return oci.WriteFile(path, oci.Image{Name: GuestImage, User: "107:107", Layers: []string{layer}})
	})
}

// padChecksum appends zero bytes until the CRC-32 fits into a signed integer.
// KubeVirt stores it in a status field of format int32, which the API server of
// Kubernetes 1.37 validates. A guest with a larger checksum never leaves the phase
// Scheduled.
func padChecksum(content []byte) []byte {
	for crc32.ChecksumIEEE(content) > math.MaxInt32 {
		content = append(content, 0)
	}
	return content
}

// guestInitrd returns the compressed initial RAM file system.
func guestInitrd(root, version, guest string) ([]byte, error) {
	var out bytes.Buffer
	zip, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, err
	}
	c := &cpioWriter{w: zip}
	for _, d := range []string{"bin", "proc", "sys", "dev", "etc", "tmp", "modules"} {
		c.dir(d)
	}
	busybox := busyboxOf(root)
	for name, from := range map[string]string{"bin/busybox": busybox, "guest": guest} {
		raw, err := os.ReadFile(from)
		if err != nil {
			return nil, err
		}
		c.file(name, 0o755, raw)
	}
	c.link("bin/sh", "busybox")
	c.file("init", 0o755, []byte(guestInit))
	c.file("udhcpc", 0o755, []byte(guestLease))
	if err := addModules(c, root, version); err != nil {
		return nil, err
	}
	if err := errors.Join(c.close(), zip.Close()); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// addModules adds the drivers and the order in which they are loaded.
func addModules(c *cpioWriter, root, version string) error {
	dir, err := kernelModules(root, version)
	if err != nil {
		return err
	}
	order, err := moduleOrder(dir, guestModules)
	if err != nil {
		return err
	}
	var list strings.Builder
	for _, path := range order {
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name := filepath.Base(path)
		c.file("modules/"+name, 0o644, raw)
		list.WriteString(name + "\n")
	}
	c.file("modules/order", 0o644, []byte(list.String()))
	return nil
}

// busyboxOf returns the path of busybox in the directory of guestKernel.
func busyboxOf(root string) string {
	path := filepath.Join(root, "usr/bin/busybox")
	if _, err := os.Stat(path); err != nil {
		return filepath.Join(root, "bin/busybox")
	}
	return path
}
