// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/json"
	"log"
	"testing"

	logzap "sigs.k8s.io/controller-runtime/pkg/log/zap"
)

// TestStandardLog checks that a message of Go's standard logger is a line of JSON.
func TestStandardLog(t *testing.T) {
	var out bytes.Buffer
	captureStandardLog(logzap.New(logzap.WriteTo(&out)))
	log.Print("http: TLS handshake error")
	var line struct{ Level, Msg string }
	if err := json.Unmarshal(out.Bytes(), &line); err != nil || line.Level != "info" || line.Msg != "http: TLS handshake error" {
		t.Errorf("%v: %s", err, &out)
	}
}
