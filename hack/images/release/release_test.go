// SPDX-License-Identifier: Apache-2.0

package release

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// small lists programs that compile in seconds.
var small = []Program{
	{"rule-writer", "./cmd/rule-writer", "0:0", "rule-writer", "Writes rules"},
	{"must-gather", "./cmd/rule-writer", "65532:65532", "usr/bin/gather", "The rule-writer in place of must-gather, which takes minutes to compile"},
}

// build builds the small programs for two architectures in a new directory, and
// returns the directory and the printed table.
func build(t *testing.T, repo string, created time.Time) (dir string, printed string) {
	t.Helper()
	dir = filepath.Join(t.TempDir(), "images")
	var out bytes.Buffer
	o := Options{Repo: repo, Work: filepath.Join(dir, "work"), Version: "1.2.3", Created: created}
	if err := Build(t.Context(), o, dir, small, []string{"amd64", "s390x"}, &out); err != nil {
		t.Fatal(err)
	}
	return dir, out.String()
}

// copyRepo copies the sources to another path.
func copyRepo(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, part := range []string{"go.mod", "go.sum", "cmd/rule-writer", "internal"} {
		info, err := os.Stat(filepath.Join(from, part))
		if err != nil {
			t.Fatal(err)
		}
		if info.IsDir() {
			err = os.CopyFS(filepath.Join(to, part), os.DirFS(filepath.Join(from, part)))
		} else {
			var text []byte
			if text, err = os.ReadFile(filepath.Join(from, part)); err == nil {
				err = os.WriteFile(filepath.Join(to, part), text, 0o600)
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func root(t *testing.T) string {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	return filepath.Join(filepath.Dir(file), "..", "..", "..")
}

// TestReproducibleImages checks that builds in two directories have the same
// digests.
func TestReproducibleImages(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles programs for two architectures: not run with -short") //nolint:forbidigo // A choice of the user.
	}
	repo := root(t)
	first, printed := build(t, repo, time.Unix(0, 0))
	second, again := build(t, copyRepo(t, repo), time.Unix(0, 0))
	if printed != again {
		t.Errorf("different digests in another directory:\n%s\n%s", printed, again)
	}
	t.Logf("\n%s", printed)
	if _, later := build(t, repo, time.Unix(1700000000, 0)); later == printed {
		t.Error("SOURCE_DATE_EPOCH does not change the images")
	}
	for _, dir := range []string{first, second} {
		inspect(t, dir)
	}
	push(t, first)
}

// inspect checks the contents of the image of each program and architecture.
func inspect(t *testing.T, dir string) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != len(small) {
		t.Fatalf("%d indexes, want %d", len(manifest.Manifests), len(small))
	}
	for i, d := range manifest.Manifests {
		program, err := index.ImageIndex(d.Digest)
		if err != nil {
			t.Fatal(err)
		}
		images, err := program.IndexManifest()
		if err != nil {
			t.Fatal(err)
		}
		if len(images.Manifests) != 2 {
			t.Errorf("%s: %d images, want one for each architecture", small[i].Name, len(images.Manifests))
		}
		for _, d := range images.Manifests {
			img, err := program.Image(d.Digest)
			if err != nil {
				t.Fatal(err)
			}
			config, err := img.ConfigFile()
			if err != nil {
				t.Fatal(err)
			}
			if config.Config.User != small[i].User || config.Architecture != d.Platform.Architecture || !config.Created.Equal(time.Unix(0, 0)) {
				t.Errorf("%s: user %s, architecture %s (index: %s), created %s", small[i].Name, config.Config.User, config.Architecture, d.Platform.Architecture, config.Created)
			}
			files := contents(t, img)
			if len(files[small[i].File]) == 0 || len(files) != 3 {
				t.Errorf("%s: the image has %d files, want 3 with the program", small[i].Name, len(files))
			}
			checkBill(t, files["usr/share/doc/meshvm/"+small[i].Name+".cdx.json"])
		}
	}
}

func contents(t *testing.T, img v1.Image) map[string][]byte {
	t.Helper()
	files := map[string][]byte{}
	r := tar.NewReader(mutate.Extract(img))
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg {
			if files[h.Name], err = io.ReadAll(r); err != nil {
				t.Fatal(err)
			}
		}
		if !h.ModTime.Equal(time.Unix(0, 0)) {
			t.Errorf("%s has the time %s, want 1970", h.Name, h.ModTime)
		}
	}
}

func checkBill(t *testing.T, text []byte) {
	t.Helper()
	var bill struct {
		BOMFormat string
		Metadata  struct {
			Component struct{ Name, Version string }
		}
		Components []struct{ Name, Version, PURL string }
	}
	if err := json.Unmarshal(text, &bill); err != nil {
		t.Fatal(err)
	}
	if bill.BOMFormat != "CycloneDX" || !strings.HasPrefix(bill.Metadata.Component.Name, "meshvm.io/meshvm/") || bill.Metadata.Component.Version != "1.2.3" || len(bill.Components) == 0 {
		t.Errorf("bill: %+v", bill)
	}
	for _, c := range bill.Components {
		if c.Version == "" || c.PURL != "pkg:golang/"+c.Name+"@"+c.Version {
			t.Errorf("component %+v", c)
		}
	}
}

// push pushes the images to go-containerregistry's registry and pulls them.
func push(t *testing.T, dir string) {
	t.Helper()
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	host := strings.TrimPrefix(server.URL, "http://")

	base := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, arch := range []string{"amd64", "s390x"} {
		img, err := mutate.AppendLayers(mutate.MediaType(empty.Image, types.OCIManifestSchema1), static.NewLayer([]byte("bash of "+arch), types.OCILayer))
		if err != nil {
			t.Fatal(err)
		}
		base = mutate.AppendManifests(base, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: arch}}})
	}
	baseRef, err := name.NewTag(host + "/base:1")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.WriteIndex(baseRef, base); err != nil {
		t.Fatal(err)
	}

	var out bytes.Buffer
	p := Push{Registry: host + "/meshvm", Tag: "v1.2.3", MustGatherBase: baseRef.String()}
	if err := p.Run(context.Background(), dir, &out); err != nil {
		t.Fatal(err)
	}
	for i, line := range strings.Split(strings.TrimSpace(out.String()), "\n") {
		ref, digest, _ := strings.Cut(line, "@")
		if want := host + "/meshvm/" + small[i].Name + ":v1.2.3"; ref != want {
			t.Errorf("pushed %s, want %s", ref, want)
		}
		tag, err := name.ParseReference(ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := remote.Index(tag)
		if err != nil {
			t.Fatal(err)
		}
		if h, err := got.Digest(); err != nil || h.String() != digest {
			t.Errorf("%s has digest %s in the registry, but %s was printed", ref, h, digest)
		}
		img, err := remote.Image(tag, remote.WithPlatform(v1.Platform{OS: "linux", Architecture: "s390x"}))
		if err != nil {
			t.Fatal(err)
		}
		layers, err := img.Layers()
		if err != nil {
			t.Fatal(err)
		}
		if want := 1 + i; len(layers) != want { // must-gather also has the layer of its base
			t.Errorf("%s has %d layers, want %d", ref, len(layers), want)
		}
	}
}

func TestCreated(t *testing.T) {
	for text, want := range map[string]int64{"": 0, "1700000000": 1700000000} {
		if got, err := Created(text); err != nil || got.Unix() != want {
			t.Errorf("%q: %v, %v", text, got, err)
		}
	}
	if _, err := Created("yesterday"); err == nil || !strings.Contains(err.Error(), "SOURCE_DATE_EPOCH") {
		t.Errorf("invalid number: got %v, want an error", err)
	}
}
