// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/cluster/node"
)

// nodeReady waits until the kubelet of this run of a node has reported, and
// labels the first node. KubeVirt's operator, istiod and the DNS select the
// node by this label, which a kubelet cannot set on its node.
func (c *Cluster) nodeReady(ctx context.Context, m *member) error {
	return c.Wait(ctx, m.name, func(ctx context.Context) (string, error) {
		if s, err := node.ReadStatus(m.state); err == nil && s.Phase == node.Failed {
			return "", kube.Permanent(errors.New(s.Message))
		}
		var n corev1.Node
		if err := c.Get(ctx, client.ObjectKey{Name: m.name}, &n); err != nil {
			return "", client.IgnoreNotFound(fmt.Errorf("not registered yet: %w", err))
		}
		ready := false
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue && m.sinceStart(cond.LastHeartbeatTime.Time) {
				ready = true
			}
		}
		if !ready {
			return "its condition Ready", nil
		}
		if _, ok := n.Labels[ControlPlaneLabel]; ok || m != c.first() {
			return "", nil
		}
		patch := client.MergeFrom(n.DeepCopy())
		n.Labels[ControlPlaneLabel] = ""
		return "", c.Patch(ctx, &n, patch)
	})
}

// ControlPlaneLabel marks the first node.
const ControlPlaneLabel = "node-role.kubernetes.io/control-plane"

// sinceStart reports whether a time in whole seconds is after the start of this
// run of the node.
func (m *member) sinceStart(t time.Time) bool {
	return !t.Before(m.process.Started.Truncate(time.Second))
}
