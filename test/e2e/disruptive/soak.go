// SPDX-License-Identifier: Apache-2.0

//go:build linux

package disruptive

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
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// soakVariable contains the number of cycles. "make soak" sets it.
const soakVariable = "MESHVM_SOAK"

// soakMachines is the number of machines that exist at a time.
const soakMachines = 3

// soak creates, restarts and deletes machines many times. A cycle continues when
// the rules of a pod are verified, because booting the guest takes most of the time
// in software emulation. At the end, nothing may remain, and the manager must not
// use more memory.
func soak(t *suite.T) {
	cycles, err := strconv.Atoi(os.Getenv(soakVariable))
	if err != nil {
		t.Fatalf("%s must be a number: %v", soakVariable, err)
	}
	t.Operator()
	s := t.Namespace("soak")
	ctx := t.Limit(5 * time.Hour)
	before, err := countObjects(ctx, s)
	t.NoError(err)
	var mu sync.Mutex
	var memory []int // KiB after each cycle
	next := make(chan int, cycles)
	for n := range cycles {
		next <- n
	}
	close(next)
	begin := time.Now()
	var running sync.WaitGroup
	for range soakMachines {
		running.Go(func() {
			for n := range next {
				if err := soakCycle(ctx, s, fmt.Sprintf("soak-%d", n)); err != nil {
					t.Errorf("cycle %d: %v", n, err)
					return
				}
				mu.Lock()
				kib, err := managerMemory(ctx, s)
				memory = append(memory, kib)
				if done := len(memory); done%10 == 0 || err != nil {
					t.Logf("%d cycles in %.0f s; the manager uses %d KiB (error: %v)", done, time.Since(begin).Seconds(), kib, err)
				}
				mu.Unlock()
			}
		})
	}
	running.Wait()
	t.Logf("%d cycles (create, restart, delete) in %.0f s; KiB of the manager after each: %v", len(memory), time.Since(begin).Seconds(), memory)
	after := before
	t.Await(ctx, "the number of objects to be the same as before", func() bool {
		after, err = countObjects(ctx, s)
		return err == nil && after == before
	})
	t.Logf("objects after: %+v, before: %+v", after, before)
	if n := len(memory); n >= 40 {
		if early, late := mean(memory[n/4:n/2]), mean(memory[3*n/4:]); late > early*5/4 {
			t.Errorf("the manager used %d KiB in the second quarter and %d KiB in the last quarter", early, late)
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

// soakCycle creates, restarts and deletes a machine.
func soakCycle(ctx context.Context, s *scenario.Scenario, name string) error {
	key := client.ObjectKey{Namespace: s.SampleNamespace(), Name: name}
	machine := suite.Machine{Name: name}
	if err := s.ApplyMachines(ctx, machine.Manifest()); err != nil {
		return err
	}
	first, err := awaitVerified(ctx, s, key, "")
	if err != nil {
		return fmt.Errorf("start: %w", err)
	}
	if err := s.Delete(ctx, suite.KubeVirtObject("VirtualMachineInstance", key)); err != nil {
		return err
	}
	if _, err := awaitVerified(ctx, s, key, first); err != nil {
		return fmt.Errorf("restart: %w", err)
	}
	m := suite.Object("MeshedVirtualMachine", key)
	if err := s.Delete(ctx, m); err != nil {
		return err
	}
	return s.Wait(ctx, name+" to be deleted", func(ctx context.Context) (string, error) {
		var pods corev1.PodList
		if err := s.List(ctx, &pods, client.InNamespace(key.Namespace), client.MatchingLabels{v1alpha1.LabelMeshedVirtualMachine: name}); err != nil {
			return "", err
		}
		if len(pods.Items) > 0 {
			return "its pod", nil
		}
		if err := s.Get(ctx, key, m); !apierrors.IsNotFound(err) {
			return "the object", err
		}
		return "", nil
	})
}

// awaitVerified waits until the rules of a pod other than old are verified.
func awaitVerified(ctx context.Context, s *scenario.Scenario, key client.ObjectKey, old types.UID) (uid types.UID, err error) {
	err = s.Wait(ctx, "the rules of "+key.Name, func(ctx context.Context) (string, error) {
		m, err := s.Machine(ctx, key)
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

// objectCounts are the numbers of objects that must not grow. An object that a
// finalizer keeps is counted, too.
type objectCounts struct{ Jobs, NATObjects, MeshedMachines, VirtualMachines, Instances, Pods, Tables int }

// countObjects counts objects in the whole cluster, and tables in every network
// namespace of every node.
func countObjects(ctx context.Context, s *scenario.Scenario) (objectCounts, error) {
	var c objectCounts
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

// managerMemory returns the resident memory in KiB of all manager processes, of the
// leader and of the others.
func managerMemory(ctx context.Context, s *scenario.Scenario) (int, error) {
	var pods corev1.PodList
	err := s.List(ctx, &pods, client.InNamespace(scenario.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "controller-manager"})
	if err != nil || len(pods.Items) == 0 {
		return 0, fmt.Errorf("find the manager pods: %w", err)
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
