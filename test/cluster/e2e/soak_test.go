// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// soakVariable holds the number of cycles; "make soak" sets it.
const soakVariable = "MESHVM_SOAK"

const (
	soakNamespace = "soak"
	// soakers is how many machines there are at a time.
	soakers = 3
)

// TestSoak makes machines, restarts and deletes them again and again. A cycle goes
// on as soon as the rules of a pod were verified: its guest does not need to boot, which
// is what costs in software emulation. In the end nothing may be left, and the
// operator may not have grown.
func TestSoak(t *testing.T) {
	cycles, err := strconv.Atoi(os.Getenv(soakVariable))
	if err != nil {
		t.Skipf("takes an hour: make soak, or %s=CYCLES", soakVariable)
	}
	s := start(t)
	ctx := testContext(t, 5*time.Hour)
	if err := s.DeployOperator(ctx); err != nil {
		t.Fatal(err)
	}
	before, err := leftovers(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var memory []int // kibibytes, after each cycle
	next := make(chan int, cycles)
	for n := range cycles {
		next <- n
	}
	close(next)
	begin := time.Now()
	var running sync.WaitGroup
	for range soakers {
		running.Go(func() {
			for n := range next {
				if err := soak(ctx, s, fmt.Sprintf("soak-%d", n)); err != nil {
					t.Errorf("cycle %d: %v", n, err)
					return
				}
				mu.Lock()
				kib, err := managerMemory(ctx, s)
				memory = append(memory, kib)
				if done := len(memory); done%10 == 0 || err != nil {
					t.Logf("%d cycles in %.0f s; the manager has %d KiB (%v)", done, time.Since(begin).Seconds(), kib, err)
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	t.Logf("%d cycles (create, restart, delete) in %.0f s; KiB of the manager after each: %v", len(memory), time.Since(begin).Seconds(), memory)
	after := before
	await(ctx, t, "what was made to go", func() bool {
		after, err = leftovers(ctx, s)
		return err == nil && after == before
	})
	t.Logf("left: %+v, before: %+v", after, before)
	if n := len(memory); n >= 40 {
		if early, late := mean(memory[n/4:n/2]), mean(memory[3*n/4:]); late > early*5/4 {
			t.Errorf("the manager grew from %d KiB in the second quarter to %d KiB in the last", early, late)
		}
	}
}

func mean(values []int) int {
	sum := 0
	for _, v := range values {
		sum += v
	}
	return sum / len(values)
}

// soak is one cycle.
func soak(ctx context.Context, s *scenario.Scenario, name string) error {
	manifest := strings.ReplaceAll(heldYAML, "name: held, labels", "name: "+soakNamespace+", labels")
	manifest = strings.ReplaceAll(manifest, "name: held, namespace: held", "name: "+name+", namespace: "+soakNamespace)
	if err := s.ApplyManifest(ctx, []byte(manifest)); err != nil {
		return err
	}
	first, err := verified(ctx, s, name, "")
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	vmi := &unstructured.Unstructured{}
	vmi.SetAPIVersion("kubevirt.io/v1")
	vmi.SetKind("VirtualMachineInstance")
	vmi.SetNamespace(soakNamespace)
	vmi.SetName(name)
	if err := s.Delete(ctx, vmi); err != nil {
		return err
	}
	if _, err := verified(ctx, s, name, first); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	mvm := vmi.DeepCopy()
	mvm.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine"))
	if err := s.Delete(ctx, mvm); err != nil {
		return err
	}
	return s.Wait(ctx, name+" to go", func(ctx context.Context) (string, error) {
		var pods corev1.PodList
		if err := s.List(ctx, &pods, client.InNamespace(soakNamespace), client.MatchingLabels{v1alpha1.LabelMeshedVirtualMachine: name}); err != nil {
			return "", err
		}
		if len(pods.Items) > 0 {
			return "its pod", nil
		}
		if err := s.Get(ctx, client.ObjectKeyFromObject(mvm), mvm); !apierrors.IsNotFound(err) {
			return "the object", err
		}
		return "", nil
	})
}

// verified waits until the rules of a pod other than old were read back.
func verified(ctx context.Context, s *scenario.Scenario, name string, old types.UID) (uid types.UID, err error) {
	err = s.Wait(ctx, "the rules of "+name, func(ctx context.Context) (string, error) {
		m, err := s.Machine(ctx, client.ObjectKey{Namespace: soakNamespace, Name: name})
		if err != nil {
			return "", err
		}
		for _, p := range m.Status.Pods {
			if p.UID != old && p.Programmed == "True" {
				uid = p.UID
				return "", nil
			}
		}
		return "a pod with verified rules", nil
	})
	return uid, err
}

// counted is what may not grow. An object that a finalizer holds is one more.
type counted struct{ Jobs, NATObjects, MeshedMachines, VirtualMachines, Instances, Pods, Tables int }

// leftovers counts in the whole cluster, the tables in every network namespace
// of every node.
func leftovers(ctx context.Context, s *scenario.Scenario) (counted, error) {
	var c counted
	for kind, n := range map[string]*int{
		"batch/v1/JobList": &c.Jobs, "meshvm.io/v1alpha1/PodNATConfigurationList": &c.NATObjects,
		"meshvm.io/v1alpha1/MeshedVirtualMachineList": &c.MeshedMachines, "kubevirt.io/v1/VirtualMachineList": &c.VirtualMachines,
		"kubevirt.io/v1/VirtualMachineInstanceList": &c.Instances, "v1/PodList": &c.Pods,
	} {
		i := strings.LastIndex(kind, "/")
		list := &unstructured.UnstructuredList{}
		list.SetAPIVersion(kind[:i])
		list.SetKind(kind[i+1:])
		if err := s.List(ctx, list); err != nil {
			return c, err
		}
		*n = len(list.Items)
	}
	for _, node := range s.Nodes() {
		out, err := s.NodeExec(ctx, node, "sh", "-c", `for n in /run/netns/*; do nsenter --net=$n nft list tables; done | grep -c "inet meshvm" || true`)
		if err != nil {
			return c, err
		}
		n, err := strconv.Atoi(strings.TrimSpace(out))
		if err != nil {
			return c, err
		}
		c.Tables += n
	}
	return c, nil
}

// managerMemory is the resident memory of the operator's processes in KiB, of
// the one that works and of the one that waits.
func managerMemory(ctx context.Context, s *scenario.Scenario) (int, error) {
	var pods corev1.PodList
	err := s.List(ctx, &pods, client.InNamespace(scenario.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "controller-manager"})
	if err != nil || len(pods.Items) == 0 {
		return 0, fmt.Errorf("find the managers' pods: %w", err)
	}
	paths, err := filepath.Glob("/proc/[0-9]*/cgroup")
	if err != nil {
		return 0, err
	}
	total := 0
	for _, path := range paths {
		group, err := os.ReadFile(path)
		if err != nil || !slices.ContainsFunc(pods.Items, func(p corev1.Pod) bool { return bytes.Contains(group, []byte("/pod"+string(p.UID))) }) {
			continue
		}
		status, err := os.ReadFile(filepath.Join(filepath.Dir(path), "status"))
		if err != nil || !bytes.HasPrefix(status, []byte("Name:\tmanager\n")) {
			continue
		}
		_, rest, _ := strings.Cut(string(status), "VmRSS:")
		kib, err := strconv.Atoi(strings.Fields(rest)[0])
		if err != nil {
			return 0, err
		}
		total += kib
	}
	if total == 0 {
		return 0, errors.New("the managers have no process on this machine")
	}
	return total, nil
}
