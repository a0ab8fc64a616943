// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/kube"
)

// errRemote is returned by methods that need the nodes of a local cluster.
var errRemote = errors.New("not supported on a cluster that is accessed only through its API server")

// Remote returns an existing cluster, which is accessed only through its API
// server. KubeVirt and Istio must be installed. kubectl is a program in the
// search path.
func Remote(kubeconfig, kubectl string, b *builder.Builder) (*Cluster, error) {
	api, err := kube.ConnectWith(kubeconfig, []string{kubectl}, b.Logf)
	if err != nil {
		return nil, err
	}
	return &Cluster{API: api, builder: b, remote: true}, nil
}

// IsRemote reports whether the cluster is accessed only through its API server.
func (c *Cluster) IsRemote() bool { return c.remote }

// PodRuns reports whether a pod has processes on a running node.
func (c *Cluster) PodRuns(ctx context.Context, pod client.ObjectKey, uid string) bool {
	if !c.remote {
		_, err := c.PodPID(uid)
		return err == nil
	}
	var p corev1.Pod
	return c.Get(ctx, pod, &p) == nil && string(p.UID) == uid && p.Status.Phase == corev1.PodRunning
}

// inNetns runs a command in the network namespace of the pod whose UID is the
// first argument. It runs in virt-handler, which sees all processes of the
// node. The name of a pod's cgroup contains dashes or underscores, depending on
// the cgroup driver.
const inNetns = `
uid=$1; shift
for p in /proc/[0-9]*; do
  grep -qE "pod($uid|$(echo "$uid" | tr - _))" "$p/cgroup" 2>/dev/null || continue
  [ "$(readlink "$p/ns/net")" = "$(readlink /proc/1/ns/net)" ] && continue
  exec nsenter --target "${p#/proc/}" --net "$@"
done
echo "no process of pod $uid" >&2
exit 1
`

// remoteNetnsRun runs a command of virt-handler's image in the network namespace
// of a pod.
func (c *Cluster) remoteNetnsRun(ctx context.Context, podUID string, s Stdio, args []string) error {
	var pods, handlers corev1.PodList
	if err := c.List(ctx, &pods); err != nil {
		return err
	}
	var node string
	for i := range pods.Items {
		if string(pods.Items[i].UID) == podUID {
			node = pods.Items[i].Spec.NodeName
		}
	}
	if node == "" {
		return fmt.Errorf("no pod with UID %s on a node", podUID)
	}
	if err := c.List(ctx, &handlers, client.MatchingLabels{"kubevirt.io": "virt-handler"}); err != nil {
		return err
	}
	for i := range handlers.Items {
		h := &handlers.Items[i]
		if h.Spec.NodeName != node || h.DeletionTimestamp != nil {
			continue
		}
		command := []string{"-n", h.Namespace, "exec", h.Name, "-c", "virt-handler", "--", "sh", "-c", inNetns, "sh", podUID}
		return c.Kubectl(ctx, s, append(command, args...)...)
	}
	return fmt.Errorf("node %s has no virt-handler pod", node)
}

func (c *Cluster) remoteNetnsExec(ctx context.Context, podUID string, args []string) (string, error) {
	var out, errs bytes.Buffer
	if err := c.remoteNetnsRun(ctx, podUID, Stdio{Out: &out, Err: &errs}, args); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return out.String(), nil
}
