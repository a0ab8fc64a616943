// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"

	"meshvm.io/meshvm/hack/images/oci"
	"meshvm.io/meshvm/hack/images/release"

	"meshvm.io/meshvm/test/cluster/node"
	"meshvm.io/meshvm/test/cluster/progress"
)

// Images of the local cluster's programs.
const (
	// ClientImage contains the program of the client pods.
	ClientImage = "localhost/meshvm-test/client:dev"
)

// Images of the operator, with their names in config/.
const (
	ManagerImage    = "localhost/meshvm/manager:dev"
	RuleWriterImage = "localhost/meshvm/rule-writer:dev"
	TracerImage     = "localhost/meshvm/tracer:dev"
)

// staticImage describes an image that holds one static program.
type staticImage struct {
	name string
	pkg  string
	user string
}

var clusterImages = []staticImage{
	{node.PauseImage, "./test/cluster/programs/pause", "65535:65535"},
	{ClientImage, "./test/cluster/programs/netclient", "65532:65532"},
}

var operatorImages = []staticImage{
	{ManagerImage, "./cmd/manager", "65532:65532"},
	{RuleWriterImage, "./cmd/rule-writer", "0:0"},
	{TracerImage, "./cmd/tracer", "0:0"},
}

// devVersion is the version of programs that are not released.
const devVersion = "dev"

// ClusterImages returns the path of an archive with the pause image and the
// client.
func (b *Builder) ClusterImages(ctx context.Context) (string, error) {
	return b.versionedImages(ctx, "cluster", devVersion, clusterImages)
}

// OperatorImages returns the path of an archive with the operator's images,
// built from the checkout.
func (b *Builder) OperatorImages(ctx context.Context) (string, error) {
	return b.versionedImages(ctx, "operator", devVersion, operatorImages)
}

// NamedOperatorImages is OperatorImages with a different version in the
// programs. names maps the names of the images to other names. An earlier
// checkout can lack a program, and its archive then lacks the image.
func (b *Builder) NamedOperatorImages(ctx context.Context, version string, names map[string]string) (string, error) {
	images := slices.DeleteFunc(slices.Clone(operatorImages), func(i staticImage) bool {
		_, err := os.Stat(filepath.Join(b.Repo, i.pkg))
		return errors.Is(err, fs.ErrNotExist)
	})
	for i := range images {
		images[i].name = names[images[i].name]
	}
	return b.versionedImages(ctx, "operator", version, images)
}

// versionedImages builds the programs and packs each into a separate image.
// Released programs and their images are built as "make images" builds them. The
// other images contain the program, /etc/passwd and an empty /tmp.
func (b *Builder) versionedImages(ctx context.Context, name, version string, images []staticImage) (string, error) {
	inputs := []string{"2"}
	programs := make([]string, len(images))
	o := release.Options{Repo: b.Repo, Work: filepath.Join(b.Cache, "own", digest(b.Repo), version), Version: version}
	err := b.step(ctx, "compiling", programsOf(name), func(ctx context.Context) error {
		for i, img := range images {
			program, err := b.staticProgram(ctx, o, img)
			if err != nil {
				return err
			}
			sum, err := fileDigest(program)
			if err != nil {
				return err
			}
			programs[i] = program
			inputs = append(inputs, img.name, img.user, sum)
		}
		return nil
	})
	if err != nil {
		return "", err
	}
	return b.product(ctx, filepath.Join("images", name), inputs, func(_ context.Context, path string) error {
		out := make([]oci.Image, len(images))
		for i, img := range images {
			var err error
			if p, ok := release.ByPackage(img.pkg); ok {
				out[i], err = o.Image(p, runtime.GOARCH, programs[i], img.name)
			} else {
				out[i], err = oci.StaticImage(img.name, img.user, programs[i], path+"."+filepath.Base(img.pkg))
			}
			if err != nil {
				return err
			}
			defer os.Remove(out[i].Layers[0]) //nolint:errcheck // it is in the archive
		}
		return oci.WriteFile(path, out...)
	})
}

// programsOf returns the name of the step that compiles the programs of an
// archive.
func programsOf(archive string) string {
	if archive == "operator" {
		return progress.OperatorPrograms
	}
	return "the programs of images/" + archive
}

func (b *Builder) staticProgram(ctx context.Context, o release.Options, img staticImage) (string, error) {
	if p, ok := release.ByPackage(img.pkg); ok {
		if err := os.MkdirAll(filepath.Join(o.Work, runtime.GOARCH), 0o755); err != nil {
			return "", err
		}
		return o.Compile(ctx, p, runtime.GOARCH)
	}
	return b.Program(ctx, img.pkg)
}
