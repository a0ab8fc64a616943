// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// DefaultControllers are the controllers that tests of the operator need. They
// create the pods and update the statuses of Jobs, collect garbage, and empty
// deleted namespaces.
var DefaultControllers = []string{
	"garbage-collector-controller",
	"job-controller",
	"namespace-controller",
	"ttl-after-finished-controller",
}

// process is a program that runs in parallel to the test.
type process struct {
	command *exec.Cmd
	dir     string
	done    chan struct{} // closed when the program exits
	err     error         // the result and the output, valid after the program has exited
	output  *bytes.Buffer
}

// startControllerManager starts kube-controller-manager and waits until it is
// healthy.
func startControllerManager(assets string, kubeconfig []byte, controllers []string) (*process, error) {
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "meshvm-controller-manager-")
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "kubeconfig")
	if err := os.WriteFile(file, kubeconfig, 0o600); err != nil {
		return nil, errors.Join(err, os.RemoveAll(dir))
	}
	p := &process{dir: dir, done: make(chan struct{}), output: &bytes.Buffer{}}
	p.command = exec.Command(filepath.Join(assets, "kube-controller-manager"),
		"--kubeconfig="+file,
		"--authentication-kubeconfig="+file,
		"--authorization-kubeconfig="+file,
		"--leader-elect=false",
		"--bind-address=127.0.0.1",
		"--secure-port="+strconv.Itoa(port),
		"--cert-dir="+dir,
		"--controllers="+strings.Join(controllers, ","),
		// Client-side rate limits are not part of the tests.
		"--kube-api-qps=500",
		"--kube-api-burst=500",
	)
	p.command.Stdout, p.command.Stderr = p.output, p.output
	EndWithParent(p.command)
	if err := p.command.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start kube-controller-manager: %w", err), os.RemoveAll(dir))
	}
	go func() {
		p.err = p.command.Wait()
		close(p.done)
	}()

	if err := p.awaitHealthy(port); err != nil {
		return nil, errors.Join(err, p.stop())
	}
	return p, nil
}

func (p *process) awaitHealthy(port int) error {
	// The program creates the certificate at its start.
	insecure := &http.Client{Transport: insecureTransport(), Timeout: 5 * time.Second}
	url := fmt.Sprintf("https://127.0.0.1:%d/healthz", port)
	deadline := time.After(startTimeout)
	for {
		if response, err := insecure.Get(url); err == nil {
			_ = response.Body.Close()
			if response.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-p.done:
			return fmt.Errorf("kube-controller-manager exited: %w\n%s", p.err, p.output)
		case <-deadline:
			return fmt.Errorf("kube-controller-manager is not healthy after %s", startTimeout)
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// stop terminates the program, gracefully at first.
func (p *process) stop() error {
	_ = p.command.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(10 * time.Second):
		_ = p.command.Process.Kill()
		<-p.done
	}
	return os.RemoveAll(p.dir)
}
