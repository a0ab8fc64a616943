// SPDX-License-Identifier: Apache-2.0

package main

import (
	"log"
	"log/slog"

	"github.com/go-logr/logr"
)

// captureStandardLog sends messages of Go's standard logger, for example of its HTTP
// server, to the manager's log. Istio's packages, which the manager imports for their
// validation, otherwise write them to standard output in another format (Istio, pkg/log).
func captureStandardLog(logger logr.Logger) {
	log.SetFlags(0)
	log.SetPrefix("")
	log.SetOutput(slog.NewLogLogger(logr.ToSlogHandler(logger), slog.LevelInfo).Writer())
}
