// SPDX-License-Identifier: Apache-2.0

// Package release makes the images that meshvm is delivered as: one static
// program each, for several architectures, the same bytes whenever and wherever
// they are made by the same version of Go.
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

// Program is one that is delivered in an image of its own.
type Program struct {
	// Name is that of the image, and Package what it is compiled from.
	Name, Package string
	// User is the image's "uid:gid".
	User string
	// File is where the program is in the image.
	File string
	// Title says in a few words what it is.
	Title string
}

// Programs are all that are delivered.
var Programs = []Program{
	{"manager", "./cmd/manager", "65532:65532", "manager", "The meshvm operator"},
	// It needs capabilities that only root has in a pod; the Job's security
	// context takes the others away.
	{"rule-writer", "./cmd/rule-writer", "0:0", "rule-writer", "Writes meshvm's nftables rules on a node"},
	{"must-gather", "./cmd/must-gather", "65532:65532", "usr/bin/gather", "Collects what support needs to know of meshvm"},
}

// ByPackage finds a program by what it is compiled from.
func ByPackage(pkg string) (Program, bool) {
	for _, p := range Programs {
		if p.Package == pkg {
			return p, true
		}
	}
	return Program{}, false
}

// Architectures are those that images are made for.
var Architectures = []string{"amd64", "arm64", "ppc64le", "s390x"}

// Options say how images are made.
type Options struct {
	// Repo is the checkout.
	Repo string
	// Work takes programs and layers; the layers have to stay until an image
	// was written or pushed.
	Work string
	// Version is that of the release.
	Version string
	// Created is the time in the images: SOURCE_DATE_EPOCH, or the beginning
	// of 1970.
	Created time.Time
}

// Compile makes a static program without the path that it was made in, and
// returns its file.
func (o Options) Compile(ctx context.Context, p Program, arch string) (string, error) {
	out := filepath.Join(o.Work, arch, p.Name)
	flags := "-s -w -buildid= -X meshvm.io/meshvm/internal/version.Version=" + o.Version
	command := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", out, p.Package)
	command.Dir = o.Repo
	command.Stderr = os.Stderr
	// What else the environment says of the compiler must not matter.
	command.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+arch, "GOWORK=off", "GOFLAGS=",
		"GOAMD64=v1", "GOARM64=v8.0", "GOPPC64=power8", "GOEXPERIMENT=")
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("compile %s for %s: %w", p.Package, arch, err)
	}
	return out, nil
}

// Image describes the image of a program that Compile made: the program, its
// bill of materials, an account file and a /tmp.
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
			// OpenShift's console and catalogs read these of an image.
			"name": "meshvm/" + p.Name, "version": o.Version, "summary": p.Title, "description": p.Title, "vendor": "meshvm",
		},
	}, err
}

// BillFile is where the bill of materials of a program is written to.
func BillFile(program string) string { return program + ".cdx.json" }

// Created is the time that images are to carry.
func Created(sourceDateEpoch string) (time.Time, error) {
	if strings.TrimSpace(sourceDateEpoch) == "" {
		return time.Unix(0, 0).UTC(), nil
	}
	var seconds int64
	if _, err := fmt.Sscan(sourceDateEpoch, &seconds); err != nil {
		return time.Time{}, fmt.Errorf("SOURCE_DATE_EPOCH is %q, want seconds since 1970: %w", sourceDateEpoch, err)
	}
	return time.Unix(seconds, 0).UTC(), nil
}
