// SPDX-License-Identifier: Apache-2.0

// Package testenv gives tests a real API server: etcd, kube-apiserver and, when
// asked for, kube-controller-manager, with this project's CRDs and, when asked
// for, KubeVirt's and Istio's.
//
// The programs come from $KUBEBUILDER_ASSETS, which "make test" sets. Without
// them tests are skipped and say so; with MESHVM_REQUIRE_ENVTEST=1 they fail.
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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// requireVariable, when it is "1" in the environment, makes tests fail that
// would be skipped for want of programs.
const requireVariable = "MESHVM_REQUIRE_ENVTEST"

// ErrNoAssets says that the programs are not there.
var ErrNoAssets = errors.New(`$KUBEBUILDER_ASSETS does not name a directory with etcd and kube-apiserver: "make test" builds them`)

// startTimeout bounds the start of each program. It is wide, because the
// machine may be building something else.
const startTimeout = 2 * time.Minute

// Options choose what an environment holds.
type Options struct {
	// KubeVirt installs KubeVirt's CRDs.
	KubeVirt bool
	// Istio installs Istio's CRDs.
	Istio bool
	// WithoutMeshVM leaves this project's own CRDs out.
	WithoutMeshVM bool
	// Controllers names the controllers of kube-controller-manager to run,
	// for example DefaultControllers; none means that it is not started.
	Controllers []string
	// ServiceNetworks are the networks of Services' addresses, one of each family in
	// the order of preference, for example "10.0.0.0/24,fd00::/112": the flag
	// --service-cluster-ip-range of kube-apiserver. Empty is envtest's own, of IPv4.
	ServiceNetworks string
}

// Env is a running API server.
type Env struct {
	// Config reaches the API server as a member of system:masters.
	Config *rest.Config
	// Client knows all kinds of Scheme and, as kubectl does, has unknown
	// fields refused.
	Client client.Client

	environment *envtest.Environment
	manager     *process
}

// New starts an environment. Stop ends it.
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
			// Of the first network's family, not loopback; nobody connects to it.
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
	// The client's own limit of five requests a second is not what is tested.
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

// Kubeconfig is the file by which a program reaches the API server, with the
// rights of another user when as is not empty.
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

// Stop ends all programs and removes their data.
func (e *Env) Stop() error {
	var err error
	if e.manager != nil {
		err = e.manager.stop()
	}
	return errors.Join(err, e.environment.Stop())
}

// Start starts an environment for one test and ends it with the test. Without
// the programs the test is skipped.
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

// Get returns the environment, which the first call starts. Without the
// programs the test is skipped.
func (s *Shared) Get(t testing.TB) *Env {
	t.Helper()
	s.once.Do(func() { s.env, s.err = New(s.Options) })
	skipOrFail(t, s.err)
	return s.env
}

// Main runs the tests, ends the environment and exits.
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
	case errors.Is(err, ErrNoAssets) && os.Getenv(requireVariable) != "1":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}
