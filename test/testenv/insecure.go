// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"crypto/tls"
	"net/http"
)

// insecureTransport trusts any certificate; it is for health checks of programs
// that make their own at start, on the loopback interface.
func insecureTransport() *http.Transport {
	return &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see the comment of the function
		DisableKeepAlives: true,
	}
}
