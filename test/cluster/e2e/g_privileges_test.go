// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/rulejob"
	"meshvm.io/meshvm/internal/startgate"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// privileges are the lines of /proc/PID/status (proc(5)) that show what a
// process may do. Capabilities are sets of bits (capabilities(7)).
type privileges map[string]string

var privilegeLines = []string{"Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"}

// wanted of the manager and of the gate in guests' pods: not root, nothing in any
// set, nothing to be had.
var noPrivileges = privileges{
	"Uid": "65532 65532 65532 65532", "Gid": "65532 65532 65532 65532",
	"CapInh": none, "CapPrm": none, "CapEff": none, "CapBnd": none, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2",
}

// wanted of the rule-writer: NET_ADMIN (12), SYS_PTRACE (19) and SYS_ADMIN (21).
var writerPrivileges = privileges{
	"Uid": "0 0 0 0", "CapPrm": three, "CapEff": three, "CapBnd": three, "CapAmb": none, "NoNewPrivs": "1", "Seccomp": "2",
}

const (
	none  = "0000000000000000"
	three = "0000000000281000"
)

// TestPrivileges reads from the node's /proc what the operator's running
// processes may do.
func TestPrivileges(t *testing.T) {
	s := start(t)
	before, _ := ready(t, s)
	ctx := testContext(t, 5*time.Minute)
	checkPrivileges(ctx, t, s, &managers(ctx, t, s)[0], "manager", noPrivileges)
	checkPrivileges(ctx, t, s, shutGate(ctx, t, s, before), startgate.Container, noPrivileges)
	pause(ctx, t, s, false)
	pod, err := s.WaitReady(ctx)
	if err != nil {
		t.Fatal(err)
	}
	checkPrivileges(ctx, t, s, pod, startgate.WatchContainer, noPrivileges)
	checkPrivileges(ctx, t, s, longWriter(ctx, t, s, pod), rulejob.ContainerName, writerPrivileges)
}

// shutGate has the sample's guest start again while the operator writes no rules,
// and returns the pod, in which the gate waits for them.
func shutGate(ctx context.Context, t *testing.T, s *scenario.Scenario, before *corev1.Pod) *corev1.Pod {
	t.Helper()
	pause(ctx, t, s, true)
	if err := s.Delete(ctx, vmi()); err != nil {
		t.Fatal(err)
	}
	var waiting *corev1.Pod
	err := s.Wait(ctx, "the sample's next pod", func(ctx context.Context) (string, error) {
		var list corev1.PodList
		err := s.List(ctx, &list, client.InNamespace(scenario.Namespace), client.MatchingLabels{kubevirtv1.AppLabel: "virt-launcher"})
		for i := range list.Items {
			if list.Items[i].UID != before.UID {
				waiting = &list.Items[i]
				return "", nil
			}
		}
		return "it", err
	})
	if err != nil {
		t.Fatal(err)
	}
	return waiting
}

// pause has the operator leave the sample alone, or look after it again.
func pause(ctx context.Context, t *testing.T, s *scenario.Scenario, yes bool) {
	t.Helper()
	value := "null"
	if yes {
		value = `"true"`
	}
	patch := client.RawPatch("application/merge-patch+json", fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%s}}}`, v1alpha1.AnnotationPaused, value))
	if err := s.Patch(ctx, object("MeshedVirtualMachine", scenario.Name), patch); err != nil {
		t.Fatal(err)
	}
}

// managers are the manager's pods, without those that end.
func managers(ctx context.Context, t *testing.T, s *scenario.Scenario) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	err := s.List(ctx, &list, client.InNamespace(scenario.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "controller-manager"})
	alive := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if err != nil || len(alive) == 0 {
		t.Fatalf("no manager's pod: %v", err)
	}
	return alive
}

// longWriter is a pod like the one in which the operator has just had rules
// written, but whose program traces for a while: the writing is over in some
// milliseconds, too short to be looked at.
func longWriter(ctx context.Context, t *testing.T, s *scenario.Scenario, target *corev1.Pod) *corev1.Pod {
	t.Helper()
	m := object("MeshedVirtualMachine", scenario.Name)
	edit := `{"spec":{"capture":{"outbound":{"excludePorts":[{"port":9998},{"port":9999}]}}}}`
	if err := s.Patch(ctx, m, client.RawPatch("application/merge-patch+json", []byte(edit))); err != nil {
		t.Fatal(err)
	}
	var written corev1.Pod
	err := s.Wait(ctx, "the pod of a rule-writer Job", func(ctx context.Context) (string, error) {
		var list corev1.PodList
		err := s.List(ctx, &list, client.InNamespace(scenario.OperatorNamespace), client.MatchingLabels(rulejob.Labels()))
		if err != nil || len(list.Items) == 0 {
			return "it", err
		}
		written = list.Items[0]
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	long := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: written.Namespace, Name: "privileges", Annotations: written.Annotations,
			Labels: map[string]string{"sidecar.istio.io/inject": "false"},
		},
		Spec: written.Spec,
	}
	long.Spec.NodeName = target.Spec.NodeName
	long.Spec.Containers[0].Args = []string{"trace", "-pod-uid", string(target.UID), "-pod-ip", target.Status.PodIP, "-dport", "1", "-duration", "1m"}
	if err := s.Create(ctx, long); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Delete(context.WithoutCancel(ctx), long, client.GracePeriodSeconds(0)); err != nil {
			t.Error(err)
		}
	})
	err = s.Wait(ctx, "the rule-writer that traces", func(ctx context.Context) (string, error) {
		if err := s.Get(ctx, client.ObjectKeyFromObject(long), long); err != nil {
			return "", err
		}
		if long.Status.Phase != corev1.PodRunning {
			return string(long.Status.Phase), nil
		}
		return "", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return long
}

// checkPrivileges waits until a container runs and looks at each of its processes.
func checkPrivileges(ctx context.Context, t *testing.T, s *scenario.Scenario, pod *corev1.Pod, container string, want privileges) {
	t.Helper()
	var processes []privileges
	err := s.Wait(ctx, "container "+container+" to run", func(ctx context.Context) (string, error) {
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
		return "it", nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, got := range processes {
		var line strings.Builder
		for _, name := range privilegeLines {
			fmt.Fprintf(&line, " %s=%s", name, got[name])
			if w, ok := want[name]; ok && got[name] != w {
				t.Errorf("%s: %s is %q, want %q", container, name, got[name], w)
			}
		}
		t.Logf("%s (%s):%s", container, got["Name"], line.String())
	}
}

// statusLine is one of /proc/PID/status.
var statusLine = regexp.MustCompile(`(?m)^(\w+):[ \t]*(.*?)[ \t]*$`)

// readPrivileges reads them of the processes of a container, which the runtime
// names in their cgroup.
func readPrivileges(containerID string) ([]privileges, error) {
	paths, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return nil, err
	}
	var out []privileges
	for _, path := range paths {
		cgroup, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(cgroup), containerID) {
			continue // it may have ended meanwhile
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if err != nil {
			continue
		}
		got := privileges{}
		for _, m := range statusLine.FindAllStringSubmatch(string(status), -1) {
			got[m[1]] = strings.Join(strings.Fields(m[2]), " ")
		}
		out = append(out, got)
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("no process in container %s", containerID)
	}
	return out, nil
}
