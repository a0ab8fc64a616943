// Package oci writes container images without a daemon and without a registry:
// an OCI image layout in one tar file, as `ctr images import` takes it.
//
// Format: https://github.com/opencontainers/image-spec/blob/main/image-layout.md.
package oci

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"
)

// Media types of the image specification.
const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar"
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
}

// descriptor names a blob in the layout.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int64             `json:"size"`
	Annotations map[string]string `json:"annotations,omitempty"`
	Platform    *platform         `json:"platform,omitempty"`
}

type platform struct {
	Architecture string `json:"architecture"`
	OS           string `json:"os"`
}

type manifest struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Config        descriptor   `json:"config"`
	Layers        []descriptor `json:"layers"`
}

type index struct {
	SchemaVersion int          `json:"schemaVersion"`
	MediaType     string       `json:"mediaType"`
	Manifests     []descriptor `json:"manifests"`
}

type config struct {
	platform
	Config runConfig `json:"config"`
	RootFS rootFS    `json:"rootfs"`
}

type runConfig struct {
	User       string   `json:"User,omitempty"`
	Env        []string `json:"Env"`
	Entrypoint []string `json:"Entrypoint,omitempty"`
	WorkingDir string   `json:"WorkingDir"`
}

type rootFS struct {
	Type    string   `json:"type"`
	DiffIDs []string `json:"diff_ids"`
}

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
	a := &archive{tw: tar.NewWriter(w), layers: map[string]descriptor{}, blobs: map[string]bool{}}
	if err := a.file("oci-layout", []byte(`{"imageLayoutVersion":"1.0.0"}`)); err != nil {
		return err
	}
	idx := index{SchemaVersion: 2, MediaType: mediaIndex}
	for _, img := range images {
		m, err := a.image(img)
		if err != nil {
			return fmt.Errorf("image %s: %w", img.Name, err)
		}
		idx.Manifests = append(idx.Manifests, m)
	}
	raw, err := json.Marshal(idx)
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
	tw     *tar.Writer
	layers map[string]descriptor // by path of the layer's file
	blobs  map[string]bool       // by digest
}

func (a *archive) image(img Image) (descriptor, error) {
	here := platform{Architecture: runtime.GOARCH, OS: "linux"}
	c := config{platform: here, RootFS: rootFS{Type: "layers"}, Config: runConfig{
		User: img.User, Entrypoint: img.Entrypoint, WorkingDir: "/",
		Env: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"},
	}}
	m := manifest{SchemaVersion: 2, MediaType: mediaManifest}
	for _, path := range img.Layers {
		l, err := a.layer(path)
		if err != nil {
			return descriptor{}, err
		}
		m.Layers = append(m.Layers, l)
		c.RootFS.DiffIDs = append(c.RootFS.DiffIDs, l.Digest) // not compressed: the same digest
	}
	var err error
	if m.Config, err = a.json(mediaConfig, c); err != nil {
		return descriptor{}, err
	}
	d, err := a.json(mediaManifest, m)
	if err != nil {
		return descriptor{}, err
	}
	// containerd takes the image's name from the first, others from the second.
	d.Annotations = map[string]string{
		"io.containerd.image.name":          img.Name,
		"org.opencontainers.image.ref.name": img.Name,
	}
	d.Platform = &here
	return d, nil
}

func (a *archive) layer(path string) (descriptor, error) {
	if d, ok := a.layers[path]; ok {
		return d, nil
	}
	f, err := os.Open(path)
	if err != nil {
		return descriptor{}, err
	}
	defer f.Close() //nolint:errcheck // only read
	h := sha256.New()
	size, err := io.Copy(h, f)
	if err != nil {
		return descriptor{}, err
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return descriptor{}, err
	}
	sum := hex.EncodeToString(h.Sum(nil))
	if !a.blobs[sum] {
		a.blobs[sum] = true
		if err := a.entry("blobs/sha256/"+sum, size, f); err != nil {
			return descriptor{}, err
		}
	}
	d := descriptor{MediaType: mediaLayer, Digest: "sha256:" + sum, Size: size}
	a.layers[path] = d
	return d, nil
}

func (a *archive) json(mediaType string, v any) (descriptor, error) {
	raw, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, err
	}
	h := sha256.Sum256(raw)
	sum := hex.EncodeToString(h[:])
	if !a.blobs[sum] {
		a.blobs[sum] = true
		if err := a.file("blobs/sha256/"+sum, raw); err != nil {
			return descriptor{}, err
		}
	}
	return descriptor{MediaType: mediaType, Digest: "sha256:" + sum, Size: int64(len(raw))}, nil
}

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
