package testenv

import (
	"context"
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

// InstallMeshVM installs this project's CRDs.
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

// InstallOpenShiftAPIServer installs the CRD of OpenShift's APIServer, from the
// github.com/openshift/api module that this module requires.
func (e *Env) InstallOpenShiftAPIServer(ctx context.Context) error {
	return e.installFrom(ctx, "github.com/openshift/api", "config/v1/zz_generated.crd-manifests/0000_10_config-operator_01_apiservers-Default.crd.yaml")
}

// installFrom installs CRDs of a file of a module.
func (e *Env) installFrom(ctx context.Context, module, file string) error {
	command := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module)
	command.Dir = Root()
	out, err := command.Output()
	if err != nil {
		return fmt.Errorf("find CRDs: go list -m %s: %w", module, err)
	}
	return e.install(ctx, filepath.Join(strings.TrimSpace(string(out)), filepath.FromSlash(file)))
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

// nudgeAfter is when a CRD that is still ending is touched.
const nudgeAfter = 10 * time.Second

// RemoveCRDs removes the CRDs of an API group, with all of their objects, and
// waits until they are gone. The API server's finalizer of CRDs backs off for
// minutes when it failed a few times, for example on a busy machine: a touch
// has it look again.
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
		return fmt.Errorf("remove the CRDs of %s: %q are left: %w", group, left, err)
	}
	return nil
}

// Root is the root of the repository.
func Root() string {
	_, file, _, ok := runtime.Caller(0)
	if !ok {
		panic("testenv: no information about callers in this program")
	}
	return filepath.Join(filepath.Dir(file), "..", "..")
}
