// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"strings"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/kube"
)

// Release is the operator as built from one checkout, with a separate version.
type Release struct {
	// Repo is the root of the checkout.
	Repo string
	// Version is the tag of its images.
	Version string
	// Images maps the names in config/ to the names of this version.
	Images map[string]string

	archive string
}

// Release builds the images of a checkout and imports them on the nodes.
func (s *Scenario) Release(ctx context.Context, repo, version string) (Release, error) {
	r := Release{Repo: repo, Version: version, Images: map[string]string{}}
	for _, name := range []string{builder.ManagerImage, builder.RuleWriterImage, builder.TracerImage} {
		r.Images[name] = name[:strings.LastIndex(name, ":")+1] + version
	}
	var err error
	if r.archive, err = s.Builder().At(repo).NamedOperatorImages(ctx, version, r.Images); err != nil {
		return r, err
	}
	return r, s.ImportImageOnce(ctx, "operator "+version, r.archive)
}

// Manifest builds a directory of the release's config/ with the release's images.
func (s *Scenario) Manifest(ctx context.Context, r Release, dir string) ([]byte, error) {
	manifest, err := s.Kustomize(ctx, filepath.Join(r.Repo, "config", dir))
	for from, to := range r.Images {
		manifest = bytes.ReplaceAll(manifest, []byte(from), []byte(to))
	}
	return manifest, err
}

// DeployRelease applies the release's config/default and waits for its manager.
func (s *Scenario) DeployRelease(ctx context.Context, r Release) error {
	manifest, err := s.Manifest(ctx, r, "default")
	if err != nil {
		return err
	}
	s.Logf("applying config/default of version %s", r.Version)
	if err := s.ApplyManifest(ctx, manifest); err != nil {
		return err
	}
	return s.OperatorReady(ctx)
}

// Remove deletes all MeshedVirtualMachines, the sample's namespace and the
// operator, in this order, and waits until they are deleted. Without an operator,
// nothing removes the finalizer of PodNATConfigurations.
func (s *Scenario) Remove(ctx context.Context, r Release) error {
	machines := &unstructured.UnstructuredList{}
	machines.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MeshedVirtualMachineList"))
	if err := s.List(ctx, machines); err != nil && !apimeta.IsNoMatchError(err) {
		return err
	}
	all := make([]*unstructured.Unstructured, 0, len(machines.Items))
	for i := range machines.Items {
		all = append(all, &machines.Items[i])
	}
	s.Logf("deleting all %d MeshedVirtualMachines", len(all))
	if err := s.DeleteObjects(ctx, all); err != nil {
		return err
	}
	for _, dir := range []string{"samples", "default"} {
		manifest, err := s.Manifest(ctx, r, dir)
		if err != nil {
			return err
		}
		objects, err := kube.Decode(manifest)
		if err != nil {
			return err
		}
		s.Logf("deleting config/%s of version %s", dir, r.Version)
		for _, o := range objects {
			if o.GetKind() != "Deployment" {
				continue
			}
			// Deleted before its roles, so that its last requests are not refused.
			if err := errors.Join(s.DeleteObjects(ctx, []*unstructured.Unstructured{o}), s.OperatorGone(ctx)); err != nil {
				return err
			}
		}
		if err := s.DeleteObjects(ctx, objects); err != nil {
			return err
		}
	}
	return nil
}

// ApplySampleOf applies the sample of a release.
func (s *Scenario) ApplySampleOf(ctx context.Context, r Release) error {
	manifest, err := s.Manifest(ctx, r, "samples")
	if err != nil {
		return err
	}
	return s.ApplyMachines(ctx, manifest)
}

// HeadRelease is the release of the checkout that the program runs in.
func (s *Scenario) HeadRelease(ctx context.Context, version string) (Release, error) {
	return s.Release(ctx, s.Builder().Repo, version)
}
