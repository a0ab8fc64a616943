// SPDX-License-Identifier: Apache-2.0

package oci

import (
	"errors"
	"path/filepath"
)

// StaticImage returns an image with one static program, which is its entry point,
// /etc/passwd and /tmp. It writes the only layer to the file layer, which the
// caller can remove after writing the archive.
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
