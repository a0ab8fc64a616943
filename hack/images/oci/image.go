// SPDX-License-Identifier: Apache-2.0

// Package oci writes container images without a daemon and without a registry.
// Manifests and digests are go-containerregistry's; ours are the layers, and the
// tar file around an image layout, as `ctr images import` takes it, because the
// library writes directories only.
//
// Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
package oci

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// Image describes one image of an archive.
type Image struct {
	// Name is the whole reference, for example localhost/meshvm/manager:dev.
	Name string
	// User is "uid" or "uid:gid".
	User string
	// Entrypoint may be empty for images whose users always name a command.
	Entrypoint []string
	// Layers are uncompressed tar files, lowest first. A layer that several
	// images of one archive use is stored once.
	Layers []string
	// Architecture is Go's name of it; this machine's when empty.
	Architecture string
	// Created is when it was made; the beginning of 1970 when zero, so that
	// the same content gives the same digest.
	Created time.Time
	// Labels are those of the image's configuration.
	Labels map[string]string
	// Compress packs the layers, as registries like them; without it an
	// archive for the same machine is made faster.
	Compress bool
}

// Platform is what the image runs on.
func (i Image) Platform() v1.Platform {
	if i.Architecture == "" {
		return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	return v1.Platform{OS: "linux", Architecture: i.Architecture}
}

// Build makes the image. Its layers are read from their files when it is
// written or pushed.
func (i Image) Build() (v1.Image, error) {
	platform, created := i.Platform(), i.Created
	if created.IsZero() {
		created = time.Unix(0, 0)
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	for _, path := range i.Layers {
		layer, err := i.layer(path)
		if err != nil {
			return nil, err
		}
		if img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{Created: v1.Time{Time: created.UTC()}}}); err != nil {
			return nil, err
		}
	}
	config, err := img.ConfigFile()
	if err != nil {
		return nil, err
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = platform.OS, platform.Architecture, v1.Time{Time: created.UTC()}
	config.Config = v1.Config{
		User: i.User, Entrypoint: i.Entrypoint, WorkingDir: "/", Labels: i.Labels,
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}
	return mutate.ConfigFile(img, config)
}

func (i Image) layer(path string) (v1.Layer, error) {
	if i.Compress {
		return tarball.LayerFromFile(path, tarball.WithMediaType(types.OCILayer))
	}
	return newPlainLayer(path)
}

// plainLayer is an uncompressed layer, which the library does not write.
type plainLayer struct {
	path   string
	digest v1.Hash
	size   int64
}

func newPlainLayer(path string) (*plainLayer, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close() //nolint:errcheck // only read
	l := &plainLayer{path: path}
	l.digest, l.size, err = v1.SHA256(f)
	return l, err
}

// Digest is that of the file.
func (l *plainLayer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID is the same, because nothing is packed.
func (l *plainLayer) DiffID() (v1.Hash, error) { return l.digest, nil }

// Compressed is the file.
func (l *plainLayer) Compressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Uncompressed is the file.
func (l *plainLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Size is the file's.
func (l *plainLayer) Size() (int64, error) { return l.size, nil }

// MediaType says that it is not packed.
func (l *plainLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// WriteFile writes the archive to path, by way of a temporary file beside it,
// so that path is either whole or absent.
func WriteFile(path string, images ...Image) (err error) {
	f, err := os.Create(path + ".tmp")
	if err != nil {
		return err
	}
	defer func() {
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = os.Rename(f.Name(), path)
		}
		if err != nil {
			_ = os.Remove(f.Name())
		}
	}()
	return Write(f, images...)
}

// Write writes an archive that holds the images.
func Write(w io.Writer, images ...Image) error {
	a := &archive{tw: tar.NewWriter(w), blobs: map[v1.Hash]bool{}}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	index := v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex}
	for _, img := range images {
		m, err := a.image(img)
		if err != nil {
			return fmt.Errorf("image %s: %w", img.Name, err)
		}
		index.Manifests = append(index.Manifests, m)
	}
	raw, err := json.Marshal(index)
	if err != nil {
		return err
	}
	if err := a.file("index.json", raw); err != nil {
		return err
	}
	return a.tw.Close()
}

// archive is a layout while it is written.
type archive struct {
	tw    *tar.Writer
	blobs map[v1.Hash]bool
}

// image writes an image's blobs and returns what the index says of it.
func (a *archive) image(i Image) (v1.Descriptor, error) {
	none := v1.Descriptor{}
	img, err := i.Build()
	if err != nil {
		return none, err
	}
	layers, err := img.Layers()
	if err != nil {
		return none, err
	}
	for _, l := range layers {
		if err := a.layer(l); err != nil {
			return none, err
		}
	}
	config, err1 := img.RawConfigFile()
	raw, err2 := img.RawManifest()
	if err := errors.Join(err1, err2, a.json(config), a.json(raw)); err != nil {
		return none, err
	}
	platform := i.Platform()
	d := v1.Descriptor{
		MediaType: types.OCIManifestSchema1, Size: int64(len(raw)), Platform: &platform,
		// containerd takes the image's name from the first, others from the second.
		Annotations: map[string]string{"io.containerd.image.name": i.Name, "org.opencontainers.image.ref.name": i.Name},
	}
	d.Digest, err = img.Digest()
	return d, err
}

func (a *archive) layer(l v1.Layer) error {
	digest, err1 := l.Digest()
	size, err2 := l.Size()
	if err := errors.Join(err1, err2); err != nil || a.blobs[digest] {
		return err
	}
	r, err := l.Compressed()
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	a.blobs[digest] = true
	return a.entry(blobPath(digest), size, r)
}

func (a *archive) json(raw []byte) error {
	digest, _, err := v1.SHA256(bytes.NewReader(raw))
	if err != nil || a.blobs[digest] {
		return err
	}
	a.blobs[digest] = true
	return a.file(blobPath(digest), raw)
}

func blobPath(h v1.Hash) string { return filepath.Join("blobs", h.Algorithm, h.Hex) }

func (a *archive) file(name string, content []byte) error {
	return a.entry(name, int64(len(content)), bytes.NewReader(content))
}

func (a *archive) entry(name string, size int64, r io.Reader) error {
	if err := a.tw.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: size, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err := io.Copy(a.tw, r)
	return err
}
