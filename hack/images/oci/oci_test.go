// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "prog")
	if err := os.WriteFile(program, []byte("ELF"), 0o600); err != nil {
		t.Fatal(err)
	}
	img, err := StaticImage("localhost/x:dev", "65532:65532", program, filepath.Join(dir, "layer"))
	if err != nil {
		t.Fatal(err)
	}
	twin := img
	twin.Name = "localhost/y:dev"
	var first, second bytes.Buffer
	if err := Write(&first, img, twin); err != nil {
		t.Fatal(err)
	}
	if err := Write(&second, img, twin); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("the same images result in different archives")
	}
	files := read(t, &first)
	var idx v1.IndexManifest
	if err := json.Unmarshal(files["index.json"], &idx); err != nil {
		t.Fatal(err)
	}
	if len(idx.Manifests) != 2 || idx.Manifests[1].Annotations["io.containerd.image.name"] != twin.Name {
		t.Fatalf("index: %+v", idx)
	}
	var m v1.Manifest
	if err := json.Unmarshal(files["blobs/sha256/"+idx.Manifests[0].Digest.Hex], &m); err != nil {
		t.Fatal(err)
	}
	layer := read(t, bytes.NewReader(files["blobs/sha256/"+m.Layers[0].Digest.Hex]))
	if string(layer["prog"]) != "ELF" || layer["etc/passwd"] == nil {
		t.Errorf("the layer has %d files and lacks prog or etc/passwd", len(layer))
	}
	if len(files) != 5 { // layout, index, and the shared layer, configuration and manifest
		t.Errorf("the archive has %d files, want 5", len(files))
	}
}

func TestCapabilities(t *testing.T) {
	var out bytes.Buffer
	l := NewLayer(&out)
	program := filepath.Join(t.TempDir(), "p")
	// Capability 10 is CAP_NET_BIND_SERVICE.
	if err := errors.Join(os.WriteFile(program, nil, 0o600), l.File("usr/bin/p", 0o755, program, 10), l.tw.Close()); err != nil {
		t.Fatal(err)
	}
	r := tar.NewReader(&out)
	for {
		h, err := r.Next()
		if err != nil {
			t.Fatal("the layer does not contain usr/bin/p:", err)
		}
		if h.Name != "usr/bin/p" {
			continue
		}
		want := "\x01\x00\x00\x02" + "\x00\x04\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00" + "\x00\x00\x00\x00"
		if got := h.PAXRecords["SCHILY.xattr.security.capability"]; got != want {
			t.Errorf("capability %q, want %q", got, want)
		}
		return
	}
}

func read(t *testing.T, r io.Reader) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	tr := tar.NewReader(r)
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(tr); err != nil {
			t.Fatal(err)
		}
	}
}
