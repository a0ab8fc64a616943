// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"bytes"
	"context"
	"errors"
	"hash/crc32"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/test/cluster/progress"
)

func TestModuleOrder(t *testing.T) {
	dir := t.TempDir()
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("modules.dep", "kernel/a/virtio-net.ko: kernel/a/net_failover.ko kernel/b/ring.ko\n"+
		"kernel/a/net_failover.ko: kernel/a/failover.ko\nkernel/a/failover.ko:\nkernel/b/ring.ko:\n")
	write("modules.builtin", "kernel/b/virtio.ko\n")
	got, err := moduleOrder(dir, []string{"virtio", "virtio_net", "failover"})
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, f := range []string{"a/failover.ko", "a/net_failover.ko", "b/ring.ko", "a/virtio-net.ko"} {
		want = append(want, filepath.Join(dir, "kernel", f))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if _, err := moduleOrder(dir, []string{"absent"}); err == nil {
		t.Error("expected an error for a missing module")
	}
}

func TestPadChecksum(t *testing.T) {
	for i := range 64 {
		in := []byte{byte(i), 1, 2}
		out := padChecksum(bytes.Clone(in))
		if crc32.ChecksumIEEE(out) > math.MaxInt32 || !bytes.HasPrefix(out, in) {
			t.Errorf("%v was padded to %v with checksum %#x", in, out, crc32.ChecksumIEEE(out))
		}
	}
}

func TestCpio(t *testing.T) {
	var out bytes.Buffer
	c := &cpioWriter{w: &out}
	c.dir("d")
	c.file("d/f", 0o644, []byte("hello"))
	c.link("l", "d/f")
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	if out.Len()%4 != 0 || bytes.Count(out.Bytes(), []byte("070701")) != 4 {
		t.Errorf("want four aligned entries, got %d bytes: %q", out.Len(), out.Bytes())
	}
	if !bytes.Contains(out.Bytes(), []byte("d/f\x00\x00\x00hello\x00\x00\x00070701")) {
		t.Errorf("name and content are not padded: %q", out.Bytes())
	}
}

func TestProduct(t *testing.T) {
	b := &Builder{Cache: t.TempDir(), Progress: progress.New(io.Discard, time.Now())}
	made := 0
	get := func(input string, fail error) (string, error) {
		return b.product(t.Context(), "bin/x", []string{input}, func(_ context.Context, path string) error {
			made++
			return errors.Join(fail, os.WriteFile(path, []byte(input), 0o600))
		})
	}
	if _, err := get("1", errors.New("broken")); err == nil {
		t.Error("expected an error of a failed build")
	}
	first, err := get("1", nil)
	if err != nil {
		t.Fatal(err)
	}
	again, err := get("1", nil)
	if err != nil || again != first || made != 2 {
		t.Errorf("the second call built the product again: %s, %s, %d builds, %v", first, again, made, err)
	}
	if other, err := get("2", nil); err != nil || other == first {
		t.Errorf("a different input returned the product %s (%v)", other, err)
	}
}

// TestCosts checks that every step that can be uncached has a cost, and that
// every cost belongs to a step.
func TestCosts(t *testing.T) {
	b, err := New(io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	b.Cache = t.TempDir()
	missing, err := b.Uncached(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	small := []string{"layers/base", "bin/virt-chroot", "bin/virt-freezer", "bin/virt-launcher-monitor", "bin/virt-probe", "bin/virt-tail"}
	known := map[string]bool{progress.DemoProgram: true, progress.OperatorPrograms: true, progress.StartCluster: true}
	for _, name := range missing {
		known[name] = true
	}
	costs := map[string]bool{}
	for _, c := range progress.Costs {
		costs[c.Name] = true
		if !known[c.Name] {
			t.Errorf("progress.Costs contains %q, which is not a step", c.Name)
		}
	}
	for _, name := range missing {
		if !costs[name] && !slices.Contains(small, name) {
			t.Errorf("progress.Costs does not contain %q", name)
		}
	}
}
