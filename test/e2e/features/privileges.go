// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/rulejob"
	"meshvm.io/meshvm/internal/startgate"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// processPrivileges contains the lines of /proc/PID/status (proc(5)) that describe
// the privileges of a process. Capabilities are sets of bits (capabilities(7)).
type processPrivileges map[string]string

const (
	noCapabilities = "0000000000000000"
	// writerCapabilities are NET_ADMIN (12), SYS_PTRACE (19) and SYS_ADMIN (21).
	writerCapabilities = "0000000000281000"
)

// privilegeLines returns the names of the lines that are printed.
func privilegeLines() []string {
	return []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"}
}

// noPrivileges are expected of the manager and of the containers in virt-launcher
// pods.
func noPrivileges() processPrivileges {
	return processPrivileges{
		"Uid": "65532 65532 65532 65532", "Gid": "65532 65532 65532 65532",
		"CapInh": noCapabilities, "CapPrm": noCapabilities, "CapEff": noCapabilities, "CapBnd": noCapabilities, "CapAmb": noCapabilities,
		"NoNewPrivs": "1", "Seccomp": "2",
	}
}

// writerPrivileges are expected of the rule-writer.
func writerPrivileges() processPrivileges {
	return processPrivileges{
		"Uid": "0 0 0 0", "CapPrm": writerCapabilities, "CapEff": writerCapabilities, "CapBnd": writerCapabilities,
		"CapAmb": noCapabilities, "NoNewPrivs": "1", "Seccomp": "2",
	}
}

// privileges reads the privileges of the operator's running processes from /proc.
func privileges(t *suite.T) {
	t.Operator()
	s := t.Sample(t.Namespace("privileges"))
	ctx := t.Limit(5 * time.Minute)
	checkPrivileges(ctx, t, &t.Managers(ctx)[0], "manager", noPrivileges())
	checkPrivileges(ctx, t, restartPaused(ctx, t, s), startgate.Container, noPrivileges())
	setPaused(ctx, t, s, false)
	pod, err := s.WaitReady(ctx)
	t.NoError(err)
	checkPrivileges(ctx, t, pod, startgate.WatchContainer, noPrivileges())
	t.DeleteAfter(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: scenario.OperatorNamespace, Name: tracingPod}})
	checkPrivileges(ctx, t, tracingWriter(ctx, t, s, pod), rulejob.ContainerName, writerPrivileges())
}

// restartPaused restarts the guest while the operator writes no rules, and returns
// the new pod, in which the gate waits for the rules.
func restartPaused(ctx context.Context, t *suite.T, s *suite.Sample) *corev1.Pod {
	t.Helper()
	setPaused(ctx, t, s, true)
	t.NoError(s.Delete(ctx, suite.KubeVirtObject("VirtualMachineInstance", s.SampleKey())))
	var pod *corev1.Pod
	t.NoError(s.Wait(ctx, "the next virt-launcher pod of the sample", func(ctx context.Context) (string, error) {
		var list corev1.PodList
		err := s.List(ctx, &list, client.InNamespace(s.SampleNamespace()), client.MatchingLabels{kubevirtv1.AppLabel: "virt-launcher"})
		for i := range list.Items {
			if list.Items[i].UID != s.Pod.UID {
				pod = &list.Items[i]
				return "", nil
			}
		}
		return "the pod", err
	}))
	return pod
}

// setPaused pauses or resumes the reconciliation of the sample.
func setPaused(ctx context.Context, t *suite.T, s *suite.Sample, paused bool) {
	t.Helper()
	value := "null"
	if paused {
		value = `"true"`
	}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationPaused, value))
	t.NoError(s.Patch(ctx, suite.Object("MeshedVirtualMachine", s.SampleKey()), patch))
}

// tracingPod is the name of the pod of tracingWriter.
const tracingPod = "privileges"

// tracingWriter creates a pod like that of a rule-writer Job, with the tracer's
// image, that traces a connection for a minute. Writing rules takes only milliseconds, which is too
// short to read the privileges.
func tracingWriter(ctx context.Context, t *suite.T, s *suite.Sample, target *corev1.Pod) *corev1.Pod {
	t.Helper()
	m := suite.Object("MeshedVirtualMachine", s.SampleKey())
	edit := `{"spec":{"capture":{"outbound":{"excludePorts":[{"port":9998},{"port":9999}]}}}}`
	t.NoError(s.Patch(ctx, m, client.RawPatch("application/merge-patch+json", []byte(edit))))
	var written corev1.Pod
	t.NoError(s.Wait(ctx, "the pod of a rule-writer Job", func(ctx context.Context) (string, error) {
		var list corev1.PodList
		err := s.List(ctx, &list, client.InNamespace(scenario.OperatorNamespace), client.MatchingLabels(rulejob.Labels()))
		if err != nil || len(list.Items) == 0 {
			return "the pod", err
		}
		written = list.Items[0]
		return "", nil
	}))
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: written.Namespace, Name: tracingPod, Annotations: written.Annotations,
			Labels: map[string]string{"sidecar.istio.io/inject": "false"},
		},
		Spec: written.Spec,
	}
	pod.Spec.NodeName = target.Spec.NodeName
	pod.Spec.Containers[0].Image = builder.TracerImage
	pod.Spec.Containers[0].Args = []string{"-pod-uid", string(target.UID), "-pod-ip", target.Status.PodIP, "-dport", "1", "-duration", "1m"}
	t.NoError(s.Create(ctx, pod))
	t.NoError(s.Wait(ctx, "the tracer", func(ctx context.Context) (string, error) {
		if err := s.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
			return "", err
		}
		if pod.Status.Phase != corev1.PodRunning {
			return string(pod.Status.Phase), nil
		}
		return "", nil
	}))
	return pod
}

// checkPrivileges waits until a container runs and checks each of its processes.
func checkPrivileges(ctx context.Context, t *suite.T, pod *corev1.Pod, container string, want processPrivileges) {
	t.Helper()
	s := t.Scenario()
	var processes []processPrivileges
	t.NoError(s.Wait(ctx, "container "+container+" to run", func(ctx context.Context) (string, error) {
		var now corev1.Pod
		if err := s.Get(ctx, client.ObjectKeyFromObject(pod), &now); err != nil {
			return "", err
		}
		for _, c := range slices.Concat(now.Status.InitContainerStatuses, now.Status.ContainerStatuses) {
			if c.Name != container || c.State.Running == nil {
				continue
			}
			_, id, _ := strings.Cut(c.ContainerID, "://")
			var err error
			processes, err = readPrivileges(id)
			return "", err
		}
		return "the container", nil
	}))
	for _, got := range processes {
		var line strings.Builder
		for _, name := range privilegeLines() {
			fmt.Fprintf(&line, " %s=%s", name, got[name])
			if w, ok := want[name]; ok && got[name] != w {
				t.Errorf("%s: %s is %q, want %q", container, name, got[name], w)
			}
		}
		t.Logf("%s (%s):%s", container, got["Name"], line.String())
	}
}

// statusLine matches a line of /proc/PID/status.
var statusLine = regexp.MustCompile(`(?m)^(\w+):[ \t]*(.*?)[ \t]*$`)

// readPrivileges reads the privileges of the processes of a container. Their cgroup
// contains the container's ID.
func readPrivileges(containerID string) ([]processPrivileges, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var out []processPrivileges
	for _, path := range paths {
		cgroup, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(cgroup), containerID) {
			continue // another container, or the process ended
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if err != nil {
			continue
		}
		got := processPrivileges{}
		for _, m := range statusLine.FindAllStringSubmatch(string(status), -1) {
			got[m[1]] = strings.Join(strings.Fields(m[2]), " ")
		}
		out = append(out, got)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("container %s has no process", containerID)
	}
	return out, nil
}
