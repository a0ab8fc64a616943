// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"path/filepath"
)

// StaticImage describes an image with nothing but one static program, which
// becomes its entry point, an account file and a /tmp. layer is the file to
// write the image's only layer to; the caller may remove it once the archive is
// written.
func StaticImage(name, user, program, layer string) (Image, error) {
	entry := "/" + filepath.Base(program)
	err := WriteLayer(layer, func(l *Layer) error {
		return errors.Join(
			l.Dir("tmp", 0o1777),
			l.Bytes("etc/passwd", 0o644, []byte("root:x:0:0:root:/:/none\nnonroot:x:65532:65532:nonroot:/:/none\n")),
			l.File(entry, 0o755, program),
		)
	})
	return Image{Name: name, User: user, Entrypoint: []string{entry}, Layers: []string{layer}}, err
}
