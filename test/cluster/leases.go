// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// dropDeadLeases deletes the leases of leaders of an earlier run of the
// cluster. If a lease exists, a new candidate waits for a full lease duration
// after it first reads the lease, which is 15 s for KubeVirt.
func (c *Cluster) dropDeadLeases(ctx context.Context) error {
	var leases coordinationv1.LeaseList
	if err := c.List(ctx, &leases); err != nil {
		return err
	}
	for i := range leases.Items {
		l := &leases.Items[i]
		if l.Namespace == corev1.NamespaceNodeLease || l.Spec.RenewTime == nil || c.first().sinceStart(l.Spec.RenewTime.Time) {
			continue
		}
		err := c.Delete(ctx, l, client.Preconditions{UID: &l.UID, ResourceVersion: &l.ResourceVersion})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}
