// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
)

// crdKind is the kind of the CRDs, which show the kinds that the cluster
// serves.
var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// vmiKind is a kind that the operator only reads.
var vmiKind = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachineInstance"}

// dependency is a kind of another project that the operator reads.
type dependency struct {
	kind    schema.GroupVersionKind
	project children.Upstream
	crd     string
}

// dependencies are the kinds that every guest needs, and optionalKinds those that the
// operator reads if the cluster serves them.
var dependencies, optionalKinds = upstreamKinds()

func upstreamKinds() (required, optional []dependency) {
	kinds := append(children.Kinds(), children.Kind{GroupVersionKind: vmiKind, Upstream: children.UpstreamKubeVirt})
	for _, k := range kinds {
		if k.Upstream != children.UpstreamKubeVirt && k.Upstream != children.UpstreamIstio {
			continue
		}
		plural, _ := meta.UnsafeGuessKindToResource(k.GroupVersionKind)
		d := dependency{k.GroupVersionKind, k.Upstream, plural.Resource + "." + k.Group}
		if k.Optional {
			optional = append(optional, d)
		} else {
			required = append(required, d)
		}
	}
	return required, optional
}

func isUpstreamCRD(o client.Object) bool {
	kinds := append(slices.Concat(dependencies, optionalKinds), gateways)
	return slices.ContainsFunc(kinds, func(d dependency) bool { return d.crd == o.GetName() })
}

// upstream starts the watches of other projects' kinds when the kinds are
// served.
type upstream struct {
	client     client.Client
	cache      cache.Cache
	controller controller.Controller
	handler    handler.EventHandler
	// handlers contains the handlers of kinds that do not use the default handler.
	handlers map[schema.GroupVersionKind]handler.EventHandler

	// all lists the MeshedVirtualMachines.
	all func(context.Context) []reconcile.Request

	mu      sync.Mutex
	indexed map[schema.GroupVersionKind]bool
	watched map[schema.GroupVersionKind]*watched
}

func newUpstream(c client.Client, ca cache.Cache, ct controller.Controller, h handler.EventHandler) *upstream {
	return &upstream{
		client: c, cache: ca, controller: ct, handler: h,
		indexed: map[schema.GroupVersionKind]bool{}, watched: map[schema.GroupVersionKind]*watched{},
	}
}

// missing starts the possible watches and returns the first kind that is not
// served, or nil. retrySoon reports whether its CRD exists, so that the kind
// may be served soon. No event reports this.
func (u *upstream) missing(ctx context.Context) (d *dependency, retrySoon bool, err error) {
	for i := range dependencies {
		served, retrySoon, err := u.serves(ctx, dependencies[i])
		if err != nil {
			return nil, false, err
		}
		if !served {
			return &dependencies[i], retrySoon, nil
		}
	}
	for _, d := range dependencies {
		if _, err := u.watch(ctx, d); err != nil {
			return nil, false, err
		}
	}
	return nil, false, nil
}

// serves reports whether the cluster serves a kind. If it does not, retrySoon reports
// that its CRD exists.
func (u *upstream) serves(ctx context.Context, d dependency) (served, retrySoon bool, err error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crdKind)
	err = u.client.Get(ctx, types.NamespacedName{Name: d.crd}, crd)
	if apierrors.IsNotFound(err) || err == nil && !crd.DeletionTimestamp.IsZero() {
		return false, false, nil
	}
	if err != nil {
		return false, false, fmt.Errorf("look for %s: %w", d.crd, err)
	}
	// An older release may serve the kind only in other versions.
	switch _, err := u.client.RESTMapper().RESTMapping(d.kind.GroupKind(), d.kind.Version); {
	case meta.IsNoMatchError(err):
		return false, true, nil
	case err != nil:
		return false, false, fmt.Errorf("look for %s: %w", d.kind, err)
	}
	return true, false, nil
}

// gatherVersions reads the versions of the projects whose kinds do not have a field of
// the spec.
func (r *Reconciler) gatherVersions(ctx context.Context, s *scope) error {
	for key, err := range s.failures {
		if apply.UnknownField(err) == "" {
			continue
		}
		for _, d := range slices.Concat(dependencies, optionalKinds) {
			if d.kind.GroupKind() != key.Kind {
				continue
			}
			crd := &metav1.PartialObjectMetadata{}
			crd.SetGroupVersionKind(crdKind)
			if err := r.Client.Get(ctx, types.NamespacedName{Name: d.crd}, crd); client.IgnoreNotFound(err) != nil {
				return fmt.Errorf("look for %s: %w", d.crd, err)
			}
			if s.versions == nil {
				s.versions = map[schema.GroupKind]string{}
			}
			s.versions[key.Kind] = versionOf(crd)
		}
	}
	return nil
}

// versionOf returns the version of the project that installed a CRD, or an
// empty string if the CRD does not contain it (KubeVirt,
// pkg/virt-operator/resource/apply; Kubernetes, recommended labels).
func versionOf(crd *metav1.PartialObjectMetadata) string {
	return cmp.Or(crd.Annotations[kubevirtv1.InstallStrategyVersionAnnotation], crd.Labels["app.kubernetes.io/version"])
}

func (u *upstream) handlerOf(kind schema.GroupVersionKind) handler.EventHandler {
	if h, ok := u.handlers[kind]; ok {
		return h
	}
	return u.handler
}

// reasonMissing returns the condition reason for a project that is not
// installed.
func (d *dependency) reasonMissing() v1alpha1.ConditionReason {
	if d.project == children.UpstreamKubeVirt {
		return v1alpha1.ReasonKubeVirtMissing
	}
	return v1alpha1.ReasonIstioMissing
}
