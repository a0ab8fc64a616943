// SPDX-License-Identifier: Apache-2.0

package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// refName is the annotation that names an index in a layout
// (https://github.com/opencontainers/image-spec/blob/main/annotations.md).
const refName = "org.opencontainers.image.ref.name"

// Build builds the images of programs for architectures, writes them to an OCI
// layout in dir, and prints their digests and sizes.
func Build(ctx context.Context, o Options, dir string, programs []Program, architectures []string, out io.Writer) error {
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	for _, arch := range architectures {
		if err := os.MkdirAll(filepath.Join(o.Work, arch), 0o755); err != nil {
			return err
		}
	}
	target, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(table, "IMAGE\tARCHITECTURE\tUSER\tBINARY\tCOMPRESSED\tDIGEST")
	for _, p := range programs {
		index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, arch := range architectures {
			img, err := o.one(ctx, p, arch, table)
			if err != nil {
				return err
			}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{
				Platform: &v1.Platform{OS: "linux", Architecture: arch},
			}})
		}
		if err := target.AppendIndex(index, layout.WithAnnotations(map[string]string{refName: p.Name})); err != nil {
			return fmt.Errorf("write the index of %s: %w", p.Name, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(table, "%s\tall\t%s\t\t\t%s\n", p.Name, p.User, digest)
	}
	return table.Flush()
}

// one builds the image of a program for an architecture and prints a line of the
// table.
func (o Options) one(ctx context.Context, p Program, arch string, out io.Writer) (v1.Image, error) {
	program, err := o.Compile(ctx, p, arch)
	if err != nil {
		return nil, err
	}
	described, err := o.Image(p, arch, program, p.Name)
	if err != nil {
		return nil, err
	}
	img, err := described.Build()
	if err != nil {
		return nil, err
	}
	stat, err1 := os.Stat(program)
	digest, err2 := img.Digest()
	manifest, err3 := img.Manifest()
	if err := errors.Join(err1, err2, err3); err != nil {
		return nil, err
	}
	size := manifest.Config.Size
	for _, l := range manifest.Layers {
		size += l.Size
	}
	fmt.Fprintf(out, "%s\t%s\t%s\t%d\t%d\t%s\n", p.Name, arch, p.User, stat.Size(), size, digest)
	return img, nil
}

// Push configures the upload of images.
type Push struct {
	// Registry is the host and path, and Tag is the tag of the images.
	Registry, Tag string
	// MustGatherBase is an optional image with bash and tar, which `oc adm
	// must-gather` calls. It becomes the base of must-gather.
	MustGatherBase string
}

// Run pushes every index of the layout in dir and prints its reference with the
// digest.
func (p Push) Run(ctx context.Context, dir string, out io.Writer) error {
	root, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return fmt.Errorf("read the image layout %s, which \"make images\" writes: %w", dir, err)
	}
	manifest, err := root.IndexManifest()
	if err != nil {
		return err
	}
	options := []remote.Option{remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain)}
	for _, d := range manifest.Manifests {
		index, err := root.ImageIndex(d.Digest)
		if err != nil {
			return err
		}
		program := d.Annotations[refName]
		if program == "must-gather" && p.MustGatherBase != "" {
			if index, err = onto(index, p.MustGatherBase, options); err != nil {
				return err
			}
		}
		ref, err := name.NewTag(strings.TrimSuffix(p.Registry, "/") + "/" + program + ":" + p.Tag)
		if err != nil {
			return err
		}
		if err := remote.WriteIndex(ref, index, options...); err != nil {
			return fmt.Errorf("push %s: %w", ref, err)
		}
		digest, err := index.Digest()
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s@%s\n", ref, digest)
	}
	return nil
}

// onto appends the layers of each image of an index to the base image of the same
// platform. The configuration of the base applies, including its user, because oc
// expects to write as root.
func onto(index v1.ImageIndex, base string, options []remote.Option) (v1.ImageIndex, error) {
	ref, err := name.ParseReference(base)
	if err != nil {
		return nil, err
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	out := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, d := range manifest.Manifests {
		below, err := remote.Image(ref, append(slices.Clip(options), remote.WithPlatform(*d.Platform))...)
		if err != nil {
			return nil, fmt.Errorf("base image %s for %s: %w", base, d.Platform, err)
		}
		img, err := index.Image(d.Digest)
		if err != nil {
			return nil, err
		}
		layers, err := img.Layers()
		if err != nil {
			return nil, err
		}
		if img, err = mutate.AppendLayers(below, layers...); err != nil {
			return nil, err
		}
		out = mutate.AppendManifests(out, mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: d.Platform}})
	}
	return out, nil
}
