//go:build linux

package cluster

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// nodeReady waits until the kubelet of this run has reported, and labels the
// node: KubeVirt's operator is placed by that label, and a kubelet may not set
// it on its own node.
func (c *Cluster) nodeReady(ctx context.Context) error {
	return c.Wait(ctx, "the node", func(ctx context.Context) (string, error) {
		var n corev1.Node
		if err := c.Get(ctx, client.ObjectKey{Name: NodeName}, &n); err != nil {
			return "", client.IgnoreNotFound(fmt.Errorf("not registered yet: %w", err))
		}
		ready := false
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue && c.sinceStart(cond.LastHeartbeatTime.Time) {
				ready = true
			}
		}
		if !ready {
			return "its condition Ready", nil
		}
		const label = "node-role.kubernetes.io/control-plane"
		if _, ok := n.Labels[label]; ok {
			return "", nil
		}
		patch := client.MergeFrom(n.DeepCopy())
		n.Labels[label] = ""
		return "", c.Patch(ctx, &n, patch)
	})
}

// sinceStart tells whether a time, which has whole seconds, is of this run.
func (c *Cluster) sinceStart(t time.Time) bool {
	return !t.Before(c.process.Started.Truncate(time.Second))
}
