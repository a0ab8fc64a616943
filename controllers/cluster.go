// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/internal/cacheindex"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/validate"
)

// Cluster returns the function that returns the facts about the cluster on which the
// acceptance of a spec depends. The controller and the webhook use the same function, so that
// both reject the same specs.
func (o Options) Cluster(reader client.Reader) func(context.Context) validate.Cluster {
	o.setDefaults()
	return func(ctx context.Context) validate.Cluster {
		return validate.Cluster{
			Resolvers: o.ClusterResolvers, Domain: o.ClusterDomain, RootNamespace: o.MeshRootNamespace, Gateways: o.Gateways, Patches: o.Patches,
			Adoption:       o.Adoption,
			WithoutWebhook: o.StartGate == children.StartGatePause,
			IsService: func(namespace, name string) bool {
				return reader.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, cacheindex.Object(children.ServiceKind), client.UnsafeDisableDeepCopy) == nil
			},
		}
	}
}
