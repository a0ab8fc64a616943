// SPDX-License-Identifier: Apache-2.0

// Package testenv runs an API server for tests: etcd, kube-apiserver and,
// optionally, kube-controller-manager, with the CRDs of this project and,
// optionally, of KubeVirt and Istio.
//
// The programs are in $KUBEBUILDER_ASSETS, which "make test" sets. Without
// them, tests are skipped with this reason. With MESHVM_REQUIRE_ENVTEST=1 they
// fail.
package testenv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"meshvm.io/meshvm/internal/requirement"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// ErrNoAssets indicates that the programs are missing.
var ErrNoAssets = errors.New(`$KUBEBUILDER_ASSETS does not name a directory with etcd and kube-apiserver: "make test" builds them`)

// startTimeout limits the start of each program. It is long because the machine
// may be compiling other programs.
const startTimeout = 2 * time.Minute

// Options configure an environment.
type Options struct {
	// KubeVirt installs KubeVirt's CRDs.
	KubeVirt bool
	// Istio installs Istio's CRDs.
	Istio bool
	// WithoutMeshVM omits the CRDs of this project.
	WithoutMeshVM bool
	// Controllers are the controllers of kube-controller-manager to run, for
	// example DefaultControllers. If empty, kube-controller-manager is not
	// started.
	Controllers []string
	// ServiceNetworks are the Service networks, one per address family in the
	// order of preference, for example "10.0.0.0/24,fd00::/112" (flag
	// --service-cluster-ip-range of kube-apiserver). Defaults to the IPv4
	// network of envtest.
	ServiceNetworks string
}

// Env is a running API server.
type Env struct {
	// Config connects to the API server as a member of system:masters.
	Config *rest.Config
	// Client knows all kinds of Scheme. Like kubectl, it requests strict field
	// validation.
	Client client.Client

	environment *envtest.Environment
	manager     *process
}

// New starts an environment. Stop terminates it.
func New(o Options) (*Env, error) {
	dir := os.Getenv("KUBEBUILDER_ASSETS")
	for _, program := range []string{"etcd", "kube-apiserver"} {
		if _, err := os.Stat(filepath.Join(dir, program)); dir == "" || err != nil {
			return nil, ErrNoAssets
		}
	}
	e := &Env{environment: &envtest.Environment{
		BinaryAssetsDirectory:    dir,
		ControlPlaneStartTimeout: startTimeout,
		ControlPlaneStopTimeout:  startTimeout,
	}}
	if o.ServiceNetworks != "" {
		flags := e.environment.ControlPlane.GetAPIServer().Configure()
		flags.Set("service-cluster-ip-range", o.ServiceNetworks)
		if network, _, _ := strings.Cut(o.ServiceNetworks, "/"); strings.Contains(network, ":") {
			// An address of the first network's family, not loopback. No client
			// connects to it.
			flags.Set("advertise-address", "2001:db8::1")
		}
	}
	if err := e.start(dir, o); err != nil {
		return nil, errors.Join(err, e.Stop())
	}
	return e, nil
}

func (e *Env) start(assets string, o Options) error {
	var err error
	if e.Config, err = e.environment.Start(); err != nil {
		return fmt.Errorf("start etcd and kube-apiserver: %w", err)
	}
	// The default client-side rate limit of five requests per second is not
	// part of the tests.
	e.Config.QPS, e.Config.Burst = 1000, 1000

	c, err := client.New(e.Config, client.Options{Scheme: Scheme()})
	if err != nil {
		return err
	}
	e.Client = client.WithFieldValidation(c, "Strict")

	installs := []struct {
		wanted  bool
		install func(context.Context) error
	}{
		{!o.WithoutMeshVM, e.InstallMeshVM},
		{o.KubeVirt, e.InstallKubeVirt},
		{o.Istio, e.InstallIstio},
	}
	for _, i := range installs {
		if i.wanted {
			if err := i.install(context.Background()); err != nil {
				return err
			}
		}
	}
	if len(o.Controllers) > 0 {
		if e.manager, err = startControllerManager(assets, e.environment.KubeConfig, o.Controllers); err != nil {
			return err
		}
	}
	return nil
}

// Kubeconfig writes a kubeconfig for a program. If as is not empty, it
// impersonates that user.
func (e *Env) Kubeconfig(as string) ([]byte, error) {
	c, err := clientcmd.Load(e.environment.KubeConfig)
	if err != nil {
		return nil, fmt.Errorf("read envtest's kubeconfig: %w", err)
	}
	for _, user := range c.AuthInfos {
		user.Impersonate = as
	}
	return clientcmd.Write(*c)
}

// Stop terminates all programs and removes their data.
func (e *Env) Stop() error {
	var err error
	if e.manager != nil {
		err = e.manager.stop()
	}
	return errors.Join(err, e.environment.Stop())
}

// Start starts an environment for one test and stops it at the end of the test.
// The test is skipped if the programs are missing.
func Start(t testing.TB, o Options) *Env {
	t.Helper()
	e, err := New(o)
	skipOrFail(t, err)
	t.Cleanup(func() {
		if err := e.Stop(); err != nil {
			t.Errorf("stop the API server: %v", err)
		}
	})
	return e
}

// Shared is an environment that the tests of a package share:
//
//	var shared = testenv.Shared{Options: testenv.Options{KubeVirt: true}}
//
//	func TestMain(m *testing.M) { shared.Main(m) }
//
//	func TestX(t *testing.T) { env := shared.Get(t); ... }
type Shared struct {
	Options Options

	once sync.Once
	env  *Env
	err  error
}

// Get returns the environment, which the first call starts. The test is skipped
// if the programs are missing.
func (s *Shared) Get(t testing.TB) *Env {
	t.Helper()
	s.once.Do(func() { s.env, s.err = New(s.Options) })
	skipOrFail(t, s.err)
	return s.env
}

// Main runs the tests, stops the environment and exits.
func (s *Shared) Main(m *testing.M) {
	code := m.Run()
	if s.env != nil {
		if err := s.env.Stop(); err != nil {
			fmt.Fprintln(os.Stderr, "stop the API server:", err)
			code = max(code, 1)
		}
	}
	os.Exit(code)
}

func skipOrFail(t testing.TB, err error) {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrNoAssets):
		requirement.Envtest.Unmet(t, "%v", err)
	default:
		t.Fatal(err)
	}
}
