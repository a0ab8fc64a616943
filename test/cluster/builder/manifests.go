// SPDX-License-Identifier: Apache-2.0

package builder

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
)

// KubeVirtManifests are files of KubeVirt's module.
type KubeVirtManifests struct {
	Version string
	CRD     []byte // of the kind KubeVirt
	RBAC    []byte // of its operator
}

// KubeVirtManifests reads the files from the module.
func (b *Builder) KubeVirtManifests(ctx context.Context) (m KubeVirtManifests, err error) {
	const path = "kubevirt.io/kubevirt"
	dir, err := b.moduleDir(ctx, kubevirtModule, path)
	if err != nil {
		return m, err
	}
	if m.Version, err = b.moduleVersion(ctx, kubevirtModule, path); err != nil {
		return m, err
	}
	generated := filepath.Join(dir, "manifests/generated")
	if m.CRD, err = os.ReadFile(filepath.Join(generated, "kv-resource.yaml")); err != nil {
		return m, err
	}
	m.RBAC, err = os.ReadFile(filepath.Join(generated, "rbac-operator.authorization.k8s.yaml.in"))
	m.RBAC = bytes.ReplaceAll(m.RBAC, []byte("{{.Namespace}}"), []byte("kubevirt"))
	return m, err
}

// IstioCRDs returns Istio's CRDs from the module of its API.
func (b *Builder) IstioCRDs(ctx context.Context) ([]byte, error) {
	dir, err := b.moduleDir(ctx, ".", "istio.io/api")
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(dir, "kubernetes/customresourcedefinitions.gen.yaml"))
}
