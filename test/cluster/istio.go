// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/builder"
)

// IstioNamespace is the namespace of istiod.
const IstioNamespace = "istio-system"

const istioNamespaceManifest = "apiVersion: v1\nkind: Namespace\nmetadata: {name: " + IstioNamespace + "}\n---\n"

// deployIstio applies Istio's charts: its CRDs, and istiod with its injection and
// validation webhooks.
func (c *Cluster) deployIstio(ctx context.Context, proxy string, nativeNftables bool) error {
	values, err := render("istiod-values.yaml", map[string]any{
		"Hub": builder.IstioHub, "Tag": builder.IstioTag, "Proxy": proxy, "NativeNftables": nativeNftables,
	})
	if err != nil {
		return err
	}
	base, err := c.builder.IstioChart(ctx, "base", []byte("defaultRevision: default\n"))
	if err != nil {
		return err
	}
	istiod, err := c.builder.IstioChart(ctx, "istio-control/istio-discovery", values)
	if err != nil {
		return err
	}
	if err := c.applyOnce(ctx, "Istio's kinds", append([]byte(istioNamespaceManifest), base...)); err != nil {
		return err
	}
	return c.applyOnce(ctx, "istiod", istiod)
}

// UseNativeNftables changes the setting global.nativeNftables of Istio's chart, by
// which Istio's init container writes its rules with nftables, and waits for
// istiod. It applies to pods that are created afterwards.
func (c *Cluster) UseNativeNftables(ctx context.Context, use bool) error {
	_, proxy, err := c.builder.MeshImages(ctx)
	if err != nil {
		return err
	}
	if err := c.deployIstio(ctx, proxy, use); err != nil {
		return err
	}
	return c.istioReady(ctx)
}

// istioReady waits for the rollout of istiod, for a pod of this run of the
// node, and for the webhooks' certificate.
func (c *Cluster) istioReady(ctx context.Context) error {
	return c.Wait(ctx, "istiod", func(ctx context.Context) (string, error) {
		var d appsv1.Deployment
		if err := c.Get(ctx, client.ObjectKey{Namespace: IstioNamespace, Name: "istiod"}, &d); err != nil {
			return "", err
		}
		if d.Status.ObservedGeneration < d.Generation || d.Status.UpdatedReplicas != *d.Spec.Replicas || d.Status.Replicas != *d.Spec.Replicas {
			return "its rollout", nil
		}
		state, err := c.PodState(ctx, IstioNamespace, "app", "istiod")
		if state != "" || err != nil {
			return state, err
		}
		return c.webhooksReady(ctx)
	})
}

// webhooksReady returns a description of the istiod webhook that does not have
// a certificate yet.
func (c *Cluster) webhooksReady(ctx context.Context) (string, error) {
	var injector admissionv1.MutatingWebhookConfiguration
	if err := c.Get(ctx, client.ObjectKey{Name: "istio-sidecar-injector"}, &injector); err != nil {
		return "", err
	}
	for _, w := range injector.Webhooks {
		if len(w.ClientConfig.CABundle) == 0 {
			return "the certificate of webhook " + w.Name, nil
		}
	}
	return "", nil
}
