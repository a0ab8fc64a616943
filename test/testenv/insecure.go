// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"crypto/tls"
	"net/http"
)

// insecureTransport accepts any certificate. It is for health checks of
// programs on the loopback interface that create a certificate at start.
func insecureTransport() *http.Transport {
	return &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // see the comment of the function
		DisableKeepAlives: true,
	}
}
