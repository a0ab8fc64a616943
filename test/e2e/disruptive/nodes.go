// SPDX-License-Identifier: Apache-2.0

//go:build linux

package disruptive

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/node"
	"meshvm.io/meshvm/test/cluster/witness"
	"meshvm.io/meshvm/test/e2e/starts"
	"meshvm.io/meshvm/test/e2e/suite"
)

// nodeCrash stops the cluster without a warning and starts it again. KubeVirt must
// start the guest again, and the operator must write the rules of its new pod.
func nodeCrash(t *suite.T) {
	t.Operator()
	s := t.Namespace("crash")
	before := t.Sample(s)
	begin := time.Now()
	t.PowerFailure(t.Limit(10 * time.Minute))
	t.Logf("the cluster was ready again after %.1f s", time.Since(begin).Seconds())
	t.Operator()
	after := t.Sample(t.Scenario().In(s.SampleNamespace()))
	t.Logf("the sample was Ready and its guest answered %.1f s after the power failure", time.Since(begin).Seconds())
	if after.Pod.UID == before.Pod.UID {
		t.Error("the virt-launcher pod is the one from before the power failure")
	}
	t.CheckPackets(after)
}

// gateNodes checks the start gate like the test Gate of package features, in starts
// that restart the kubelet or a node.
func gateNodes(t *suite.T) {
	starts.Run(t, "gate-nodes", []starts.Step{
		{Name: "kubelet restart while the gate is shut", Run: restartKubelet},
		{Name: "node crash and return", Run: crashNode},
	})
}

// restartKubelet restarts the kubelet of a pod that waits for its rules. The
// kubelet can reject the pod if KubeVirt's devices are not registered yet. KubeVirt
// then creates another pod, which must also wait.
func restartKubelet(h *starts.Start) {
	old := h.Pod("")
	resume := h.Pause()
	defer resume()
	pod := h.Restart()
	h.AwaitEvent(pod, starts.GateRuns)
	h.CheckGateShut(pod)
	h.NoError(h.RestartServer(h.Ctx, h.NodeOf(pod), "kubelet"))
	h.CheckGateShut(pod)
	resume()
	h.Await(h.Ctx, "a pod in the endpoints whose guest answers", func() bool {
		for _, uid := range h.Pods() {
			if uid != old && h.Find(uid, witness.InEndpoints) != nil && h.Find(uid, witness.GuestAnswers) != nil {
				return true
			}
		}
		return false
	})
}

// crashNode stops the second node while it runs the guest, and starts it again.
func crashNode(h *starts.Start) {
	const first, second = "node1", "node2"
	h.NoError(setSchedulable(h.Ctx, h.Cluster, first, false))
	defer func() {
		// The time limit of the step may have passed.
		ctx, cancel := h.CleanupLimit(time.Minute)
		defer cancel()
		if err := setSchedulable(ctx, h.Cluster, first, true); err != nil {
			h.Errorf("make %s schedulable: %v", first, err)
		}
	}()
	pod := h.Restart()
	h.AwaitGuest(pod)
	if on := h.NodeOf(pod); on != second {
		h.Fatalf("the pod is on %s, want %s", on, second)
	}
	h.NoError(h.StopNode(second))
	h.NoError(h.StartNode(h.Ctx, second))
	h.AwaitGuest(h.Pod(pod))
}

func setSchedulable(ctx context.Context, c *cluster.Cluster, name string, schedulable bool) error {
	n := &corev1.Node{}
	n.Name = name
	return c.Patch(ctx, n, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"unschedulable":%t}}`, !schedulable)))
}

// sandboxKilled kills the sandbox of a virt-launcher pod. The kubelet ends the pod,
// and KubeVirt creates another one, which must get rules.
func sandboxKilled(t *suite.T) {
	ms := t.Machines("sandbox", suite.Machine{Name: "one"})
	ctx := t.Limit(8 * time.Minute)
	pod := ms.Pods["one"]
	ctr := []string{"ctr", "--address", node.Socket, "--namespace", "k8s.io"}
	sandbox, err := ms.NodeExec(ctx, pod.Spec.NodeName, append(ctr, "containers", "list", "-q",
		"labels.\"io.cri-containerd.kind\"==sandbox,labels.\"io.kubernetes.pod.uid\"=="+string(pod.UID))...)
	if err != nil || strings.TrimSpace(sandbox) == "" {
		t.Fatalf("find the sandbox of %s: %q, error: %v", pod.Name, sandbox, err)
	}
	_, err = ms.NodeExec(ctx, pod.Spec.NodeName, append(ctr, "tasks", "kill", "--signal", "SIGKILL", strings.TrimSpace(sandbox))...)
	t.NoError(err)
	begin := time.Now()
	t.Await(ctx, "rules in another sandbox", func() bool {
		m, err := ms.Machine(ctx, ms.Key("one"))
		if err != nil || len(m.Status.Pods) == 0 {
			return false
		}
		now := m.Status.Pods[len(m.Status.Pods)-1]
		if now.UID == pod.UID || now.Programmed != "True" {
			return false
		}
		_, err = ms.NATTable(ctx, string(now.UID))
		return err == nil
	})
	t.Logf("the new pod has verified rules %.1f s after the sandbox was killed", time.Since(begin).Seconds())
	ms.AwaitGuest(ctx, t, "one")
	t.Logf("its guest answers after %.1f s", time.Since(begin).Seconds())
}

// secondCluster starts another cluster until its node is Ready, and checks that
// nothing remains after it was stopped.
func secondCluster(t *suite.T) {
	name := t.Scenario().Name() + "-second"
	f, err := suite.NewFootprint(name)
	t.NoError(err)
	o := cluster.Options{Name: name, Owned: true, Progress: os.Stderr, WithoutKubeVirt: true}
	t.NoError(cluster.Down(o, false))
	c, err := cluster.Up(t.Limit(40*time.Minute), o) // returns when the node is Ready
	t.NoError(err)
	during, err := f.Added()
	t.NoError(err)
	if len(during) < 3 {
		t.Errorf("the check for leftovers detects too little of a running cluster: %v", during)
	}
	t.NoError(c.Down(false))
	t.NoError(f.NothingLeft())
	if _, err := os.Stat(c.StateDir()); !os.IsNotExist(err) {
		t.Errorf("the state directory %s exists after the cluster was stopped (error: %v)", c.StateDir(), err)
	}
}
