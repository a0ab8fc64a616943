// SPDX-License-Identifier: Apache-2.0

// Package istiod runs the istiod of the pinned Istio, and of the minor version before it,
// on the API server of tests, and reads the configuration that they compile for proxies. No proxy runs: a client
// subscribes as a proxy does, and istiod's debug interface returns what it sends.
package istiod

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/testenv"
)

// Namespace is the root namespace of the mesh.
const Namespace = "istio-system"

// readyLimit is the time for the start of istiod. It is long because the machine may
// be compiling other programs.
const readyLimit = 2 * time.Minute

// Release is a minor version of Istio.
type Release struct {
	// Version is the version of the proxies that connect.
	Version string
	// program finds or builds istiod once.
	program func() (string, error)
}

// The releases that the tests run. The module of each program determines its version.
var (
	Current  = Release{"1.31.0", program("pilot-discovery")}
	Previous = Release{"1.30.0", program("pilot-discovery-previous")}
)

func program(name string) func() (string, error) {
	return sync.OnceValues(func() (string, error) {
		b, err := builder.New(os.Stderr)
		if err != nil {
			return "", err
		}
		return b.Tool(context.Background(), name)
	})
}

// Server is a running istiod.
type Server struct {
	Release
	grpc, http string // addresses
}

// Start runs istiod until the end of the test, with further environment variables. The
// namespace Namespace must exist.
func Start(t testing.TB, env *testenv.Env, release Release, variables ...string) *Server {
	t.Helper()
	path, err := release.program()
	if err != nil {
		t.Fatalf("istiod: %v", err)
	}
	kubeconfig, err := env.Kubeconfig("")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		t.Fatal(err)
	}
	s := &Server{Release: release, grpc: freeAddress(t), http: freeAddress(t)}
	var output bytes.Buffer
	command := exec.CommandContext(context.WithoutCancel(t.Context()), path, "discovery",
		"--kubeconfig="+file, "--namespace="+Namespace, "--domain=cluster.local",
		"--grpcAddr="+s.grpc, "--httpAddr="+s.http, "--monitoringAddr="+freeAddress(t),
		"--httpsAddr=", "--secureGRPCAddr=", "--ctrlz_port=0", "--shutdownDuration=0s")
	// The webhooks are not part of the tests.
	command.Env = append(os.Environ(), "POD_NAMESPACE="+Namespace, "POD_NAME=istiod-"+release.Version, "INJECTION_WEBHOOK_CONFIG_NAME=", "VALIDATION_WEBHOOK_CONFIG_NAME=")
	command.Env = append(command.Env, variables...)
	command.Dir = dir
	command.Stdout, command.Stderr = &output, &output
	testenv.EndWithParent(command)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		err = command.Wait()
		close(ended)
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
	})
	deadline := time.After(readyLimit)
	for {
		if _, err := s.get(t.Context(), "/ready", nil); err == nil {
			return s
		}
		select {
		case <-ended:
			t.Fatalf("istiod exited: %v\n%s", err, &output)
		case <-deadline:
			t.Fatalf("istiod is not ready after %s", readyLimit)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// get reads a page of istiod's plain-text interface.
func (s *Server) get(ctx context.Context, path string, query url.Values) ([]byte, error) {
	u := url.URL{Scheme: "http", Host: s.http, Path: path, RawQuery: query.Encode()}
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(response.Body)
	if err := errors.Join(err, response.Body.Close()); err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("istiod: %s: %s: %s", u.Path, response.Status, body)
	}
	return body, nil
}

// dump reads the configuration of a proxy (Istio, pilot/pkg/xds/debug.go).
func (s *Server) dump(ctx context.Context, proxy string) (*configDump, error) {
	body, err := s.get(ctx, "/debug/config_dump", url.Values{"proxyID": {proxy}, "include_eds": {""}})
	if err != nil {
		return nil, err
	}
	d := &configDump{}
	if err := json.Unmarshal(body, d); err != nil {
		return nil, fmt.Errorf("istiod: config_dump: %w", err)
	}
	return d, nil
}

func freeAddress(t testing.TB) string {
	t.Helper()
	port, err := testenv.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	return "127.0.0.1:" + strconv.Itoa(port)
}
