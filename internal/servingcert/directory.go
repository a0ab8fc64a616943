// SPDX-License-Identifier: Apache-2.0

package servingcert

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"sync"

	"k8s.io/client-go/util/cert"
)

// FromDirectory serves tls.crt and tls.key as they are at each handshake, and a
// certificate of its own while they are not there: an optional Secret may come
// when the process has long been running, and the kubelet mounts it then. It is
// for servers that few clients call.
func FromDirectory(dir string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	own := sync.OnceValues(func() (*tls.Certificate, error) {
		crt, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
		if err != nil {
			return nil, fmt.Errorf("make a certificate: %w", err)
		}
		pair, err := tls.X509KeyPair(crt, key)
		return &pair, err
	})
	return func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key"))
		if errors.Is(err, fs.ErrNotExist) {
			return own()
		}
		return &pair, err
	}
}
