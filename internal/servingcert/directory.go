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

// FromDirectory returns a GetCertificate function that reads tls.crt and
// tls.key at each handshake, and serves a self-signed certificate while they do
// not exist. The kubelet mounts an optional Secret that is created after the
// start of the process. The function is intended for servers with few clients.
func FromDirectory(dir string) func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	own := sync.OnceValues(func() (*tls.Certificate, error) {
		crt, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
		if err != nil {
			return nil, fmt.Errorf("create a self-signed certificate: %w", err)
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
