// SPDX-License-Identifier: Apache-2.0

package testenv

import (
	"context"
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// InstallMeshVM installs the CRDs of this project.
func (e *Env) InstallMeshVM(ctx context.Context) error {
	return e.install(ctx, filepath.Join(Root(), "config", "crd", "bases"))
}

// InstallKubeVirt installs KubeVirt's CRDs.
func (e *Env) InstallKubeVirt(ctx context.Context) error {
	return e.install(ctx, filepath.Join(Root(), "test", "upstream", "kubevirt", "crds"))
}

// InstallIstio installs Istio's CRDs, from the istio.io/api module that this
// module requires.
func (e *Env) InstallIstio(ctx context.Context) error {
	return e.installFrom(ctx, "istio.io/api", "kubernetes/customresourcedefinitions.gen.yaml")
}

// InstallGatewayAPI installs the CRDs of the Gateway API, from the
// sigs.k8s.io/gateway-api module that this module requires.
func (e *Env) InstallGatewayAPI(ctx context.Context) error {
	return e.installFrom(ctx, "sigs.k8s.io/gateway-api", "config/crd/standard")
}

// InstallOpenShiftAPIServer installs the CRD of OpenShift's APIServer, from the
// github.com/openshift/api module that this module requires.
func (e *Env) InstallOpenShiftAPIServer(ctx context.Context) error {
	return e.installFrom(ctx, "github.com/openshift/api", "config/v1/zz_generated.crd-manifests/0000_10_config-operator_01_apiservers-Default.crd.yaml")
}

// InstallOpenShiftConsole installs the CRD of samples in the OpenShift console,
// from the same module.
func (e *Env) InstallOpenShiftConsole(ctx context.Context) error {
	return e.installFrom(ctx, "github.com/openshift/api", "console/v1/zz_generated.crd-manifests/00_consoleyamlsamples.crd.yaml")
}

// InstallCertManager installs cert-manager's CRDs, from the
// github.com/cert-manager/cert-manager module that this module requires.
func (e *Env) InstallCertManager(ctx context.Context) error {
	return e.installFrom(ctx, "github.com/cert-manager/cert-manager", "deploy/crds")
}

// InstallMonitoring installs the CRDs of Prometheus Operator, from the module
// that test/upstream/monitoring requires.
func (e *Env) InstallMonitoring(ctx context.Context) error {
	for _, kind := range []string{"servicemonitors", "prometheusrules"} {
		file := "example/prometheus-operator-crd/monitoring.coreos.com_" + kind + ".yaml"
		if err := e.installOf(ctx, "test/upstream/monitoring", "github.com/prometheus-operator/prometheus-operator", file); err != nil {
			return err
		}
	}
	return nil
}

// installFrom installs CRDs from a file or a directory of a module that this
// module requires.
func (e *Env) installFrom(ctx context.Context, module, file string) error {
	return e.installOf(ctx, ".", module, file)
}

// installOf installs CRDs from a module that the module in dir requires. It
// downloads the module if necessary.
func (e *Env) installOf(ctx context.Context, dir, module, file string) error {
	command := exec.CommandContext(ctx, "go", "mod", "download", "-json", module)
	command.Dir = filepath.Join(Root(), dir)
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("find CRDs: go mod download %s: %w\n%s", module, err, out)
	}
	var found struct{ Dir string }
	if err := json.Unmarshal(out, &found); err != nil {
		return fmt.Errorf("find CRDs: go mod download %s: %w", module, err)
	}
	return e.install(ctx, filepath.Join(found.Dir, filepath.FromSlash(file)))
}

func (e *Env) install(_ context.Context, path string) error {
	_, err := envtest.InstallCRDs(e.Config, envtest.CRDInstallOptions{
		Scheme:             Scheme(),
		Paths:              []string{path},
		ErrorIfPathMissing: true,
		MaxTime:            startTimeout,
	})
	if err != nil {
		return fmt.Errorf("install the CRDs of %s: %w", path, err)
	}
	return nil
}

// nudgeAfter is the time after which a CRD that is still terminating is
// updated.
const nudgeAfter = 10 * time.Second

// RemoveCRDs removes the CRDs of an API group with all their objects and waits
// until they are deleted. After several failures, for example on a busy
// machine, the CRD finalizer in the API server backs off for minutes. An update
// of the CRD triggers it.
func (e *Env) RemoveCRDs(ctx context.Context, group string) error {
	var left []string
	touched := time.Now()
	gone := func(ctx context.Context) (bool, error) {
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(extv1.SchemeGroupVersion.WithKind("CustomResourceDefinitionList"))
		if err := e.Client.List(ctx, list); err != nil {
			return false, err
		}
		left = nil
		touch := time.Since(touched) > nudgeAfter
		for i := range list.Items {
			crd := &list.Items[i]
			if !strings.HasSuffix(crd.Name, "."+group) {
				continue
			}
			left = append(left, crd.Name)
			var err error
			switch {
			case crd.DeletionTimestamp == nil:
				err = e.Client.Delete(ctx, crd)
			case touch:
				touched = time.Now()
				before := crd.DeepCopy()
				crd.Annotations = map[string]string{"test.meshvm.io/touched": touched.Format(time.RFC3339)}
				err = e.Client.Patch(ctx, crd, client.MergeFrom(before))
			}
			if client.IgnoreNotFound(err) != nil {
				return false, err
			}
		}
		return len(left) == 0, nil
	}
	if err := wait.PollUntilContextTimeout(ctx, 200*time.Millisecond, startTimeout, true, gone); err != nil {
		return fmt.Errorf("remove the CRDs of %s: %q still exist: %w", group, left, err)
	}
	return nil
}

// Root returns the root directory of the repository.
func Root() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		panic("testenv: no caller information in this program")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}
