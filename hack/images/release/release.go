// SPDX-License-Identifier: Apache-2.0

// Package release builds the released images of meshvm. Each image contains one
// static program. The images are reproducible: the same sources and the same
// version of Go result in the same digests.
package release

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"strings"
	"time"

	"meshvm.io/meshvm/hack/images/oci"
)

// Program is a program that is released in a separate image.
type Program struct {
	// Name is the name of the image, and Package is the path of the Go package.
	Name, Package string
	// User is the image's "uid:gid".
	User string
	// File is the path of the program in the image.
	File string
	// Title is a short description for labels and the bill of materials.
	Title string
}

// Programs lists all released programs.
var Programs = []Program{
	{"manager", "./cmd/manager", "65532:65532", "manager", "The meshvm operator"},
	// The rule-writer needs capabilities that only root has in a pod. The security
	// context of the Job drops the other capabilities.
	{"rule-writer", "./cmd/rule-writer", "0:0", "rule-writer", "Writes meshvm's nftables rules on a node"},
	// The tracer needs the same capabilities.
	{"tracer", "./cmd/tracer", "0:0", "tracer", "Traces a connection through the rules of a pod"},
	{"must-gather", "./cmd/must-gather", "65532:65532", "usr/bin/gather", "Collects support data about meshvm"},
}

// ByPackage returns the program that is compiled from a package.
func ByPackage(pkg string) (Program, bool) {
	for _, p := range Programs {
		if p.Package == pkg {
			return p, true
		}
	}
	return Program{}, false
}

// Architectures lists the architectures of the released images.
var Architectures = []string{"amd64", "arm64", "ppc64le", "s390x"}

// Options configures the build of images.
type Options struct {
	// Repo is the root directory of the repository.
	Repo string
	// Work is the directory for programs and layers. The files of layers must
	// exist until the image is written or pushed.
	Work string
	// Version is the version of the release.
	Version string
	// Created is the creation time of the images: SOURCE_DATE_EPOCH or the start
	// of 1970.
	Created time.Time
}

// Compile compiles a static program, which does not contain the path of the build
// directory, and returns the path of its file.
func (o Options) Compile(ctx context.Context, p Program, arch string) (string, error) {
	out := filepath.Join(o.Work, arch, p.Name)
	flags := "-s -w -buildid= -X meshvm.io/meshvm/internal/version.Version=" + o.Version
	// The linker strips debug information, so the compiler does not write it.
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-gcflags=all=-dwarf=false",
		"-ldflags", flags, "-o", out, p.Package)
	command.Dir = o.Repo
	command.Stderr = os.Stderr
	// Override settings of the environment that would change the binary.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off", "GOFLAGS=",
		"GOAMD64=v1", "GOARM64=v8.0", "GOPPC64=power8", "GOEXPERIMENT=")
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("compile %s for %s: %w", p.Package, arch, err)
	}
	return out, nil
}

// Image returns the image of a compiled program. It contains the program, its bill
// of materials, /etc/passwd and /tmp.
func (o Options) Image(p Program, arch, program, name string) (oci.Image, error) {
	bill, err := Bill(p, program, o.Version, o.Created)
	if err != nil {
		return oci.Image{}, err
	}
	if err := os.WriteFile(BillFile(program), bill, 0o600); err != nil {
		return oci.Image{}, err
	}
	layer := program + ".layer.tar"
	err = oci.WriteLayer(layer, func(l *oci.Layer) error {
		return errors.Join(
			l.Dir("tmp", 0o1777),
			l.Bytes("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n")),
			l.Bytes(path.Join("usr/share/doc/meshvm", filepath.Base(BillFile(p.Name))), 0o644, bill),
			l.File(p.File, 0o755, program),
		)
	})
	return oci.Image{
		Name: name, User: p.User, Entrypoint: []string{"/" + p.File}, Layers: []string{layer},
		Architecture: arch, Created: o.Created, Compress: true,
		Labels: map[string]string{
			"org.opencontainers.image.title":    "meshvm " + p.Name,
			"org.opencontainers.image.version":  o.Version,
			"org.opencontainers.image.licenses": "Apache-2.0",
			// OpenShift's console and catalogs read these labels.
			"name": "meshvm/" + p.Name, "version": o.Version, "summary": p.Title, "description": p.Title, "vendor": "meshvm",
		},
	}, err
}

// BillFile returns the path of the bill of materials of a program.
func BillFile(program string) string { return program + ".cdx.json" }

// Created parses SOURCE_DATE_EPOCH and returns the creation time of images.
func Created(sourceDateEpoch string) (time.Time, error) {
	if strings.TrimSpace(sourceDateEpoch) == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	var seconds int64
	if _, err := fmt.Sscan(sourceDateEpoch, &seconds); err != nil {
		return time.Time{}, fmt.Errorf("invalid SOURCE_DATE_EPOCH %q: must be seconds since 1970: %w", sourceDateEpoch, err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
