// SPDX-License-Identifier: Apache-2.0

// Package oci writes container images without a daemon and without a registry.
// go-containerregistry creates manifests and digests. This package adds layers,
// and archives of image layouts for `ctr images import`, because the library
// writes directories only.
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
	// Name is the full reference, for example localhost/meshvm/manager:dev.
	Name string
	// User is "uid" or "uid:gid".
	User string
	// Entrypoint is optional if all users of the image specify a command.
	Entrypoint []string
	// Layers lists uncompressed tar files, the lowest layer first. An archive
	// stores a layer that several images share once.
	Layers []string
	// Architecture is a GOARCH. It defaults to the architecture of this program.
	Architecture string
	// Created is the creation time. Its zero value stands for the start of 1970,
	// so that the same content results in the same digest.
	Created time.Time
	// Labels are the labels in the image's configuration.
	Labels map[string]string
	// Compress compresses the layers, which registries expect. Archives for the
	// same machine are written faster without it.
	Compress bool
}

// Platform returns the operating system and the architecture of the image.
func (i Image) Platform() v1.Platform {
	if i.Architecture == "" {
		return v1.Platform{OS: "linux", Architecture: runtime.GOARCH}
	}
	return v1.Platform{OS: "linux", Architecture: i.Architecture}
}

// Build builds the image. The files of its layers are read when the image is
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

// plainLayer is an uncompressed layer, which the library does not support.
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
	defer f.Close() //nolint:errcheck // read-only file
	l := &plainLayer{path: path}
	l.digest, l.size, err = v1.SHA256(f)
	return l, err
}

// Digest returns the digest of the file.
func (l *plainLayer) Digest() (v1.Hash, error) { return l.digest, nil }

// DiffID returns the same digest, because the layer is not compressed.
func (l *plainLayer) DiffID() (v1.Hash, error) { return l.digest, nil }

// Compressed opens the file.
func (l *plainLayer) Compressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Uncompressed opens the file.
func (l *plainLayer) Uncompressed() (io.ReadCloser, error) { return os.Open(l.path) }

// Size returns the size of the file.
func (l *plainLayer) Size() (int64, error) { return l.size, nil }

// MediaType returns the type of uncompressed layers.
func (l *plainLayer) MediaType() (types.MediaType, error) { return types.OCIUncompressedLayer, nil }

// WriteFile writes the archive to a temporary file and renames it to path, so that
// path is either complete or absent.
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

// Write writes an archive with the images.
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

// archive is an image layout that is being written.
type archive struct {
	tw    *tar.Writer
	blobs map[v1.Hash]bool
}

// image writes the blobs of an image and returns its descriptor for the index.
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
		// containerd reads the name from the first annotation, other tools from the second.
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
	defer r.Close() //nolint:errcheck // read-only file
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
