// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Snapshot contains the state that an upgrade of the operator must not change, and
// the state that it may change without disruption.
type Snapshot struct {
	// Kept are UIDs, generations, specs and restart counts by their names.
	Kept map[string]string
	// TableHandle is the kernel's number of the table. It changes if the table is
	// replaced in a transaction.
	TableHandle uint64
	// Rules is the number of the table's rules, Packets the sum of its counters.
	Rules   int
	Packets uint64
	// Selector is the selector of the Service. A newer version can select the pod by
	// other labels.
	Selector map[string]string
	// Labels are the labels of the VirtualMachine's next instance.
	Labels string
	// Digest is the digest of the applied request in the status.
	Digest string
}

// Snapshot reads the state of the sample and its pod.
func (s *Scenario) Snapshot(ctx context.Context, pod *corev1.Pod) (Snapshot, error) {
	snap := Snapshot{Kept: map[string]string{}}
	for _, of := range []struct{ apiVersion, kind string }{
		{v1alpha1.GroupVersion.String(), "MeshedVirtualMachine"},
		{"kubevirt.io/v1", "VirtualMachine"},
		{"kubevirt.io/v1", "VirtualMachineInstance"},
		{"v1", "Service"},
	} {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion(of.apiVersion)
		u.SetKind(of.kind)
		if err := s.Get(ctx, s.SampleKey(), u); err != nil {
			return snap, err
		}
		snap.Kept[of.kind+" uid"] = string(u.GetUID())
		switch of.kind {
		case "MeshedVirtualMachine":
			// The spec is not compared, because a newer version can add defaults.
			snap.Kept[of.kind+" generation"] = fmt.Sprint(u.GetGeneration())
		case "VirtualMachine":
			// The labels of the next instance may change, its spec may not.
			part, _, _ := unstructured.NestedMap(u.Object, "spec", "template", "spec")
			spec, err := json.Marshal(part)
			if err != nil {
				return snap, err
			}
			snap.Kept[of.kind+" template's spec"] = string(spec)
			snap.Kept[of.kind+" restart required"] = fmt.Sprint(strings.Contains(fmt.Sprint(u.Object["status"]), "RestartRequired"))
			snap.Labels = fmt.Sprint(labelsOfNext(u))
		case "Service":
			snap.Selector, _, _ = unstructured.NestedStringMap(u.Object, "spec", "selector")
			unstructured.RemoveNestedField(u.Object, "spec", "selector")
			spec, err := json.Marshal(u.Object["spec"])
			if err != nil {
				return snap, err
			}
			snap.Kept[of.kind+" spec without the selector"] = string(spec)
		}
	}
	var now corev1.Pod
	if err := s.Get(ctx, client.ObjectKeyFromObject(pod), &now); err != nil {
		return snap, err
	}
	snap.Kept["launcher pod uid"] = string(now.UID)
	snap.Kept["the Service selects the pod"] = fmt.Sprint(labels.SelectorFromSet(snap.Selector).Matches(labels.Set(now.Labels)))
	for _, c := range now.Status.ContainerStatuses {
		snap.Kept["restarts of "+c.Name] = fmt.Sprint(c.RestartCount)
	}
	m, err := s.MeshedVirtualMachine(ctx)
	if err != nil {
		return snap, err
	}
	for _, p := range m.Status.Pods {
		if p.UID == pod.UID {
			snap.Digest = p.Digest
		}
	}
	return snap, s.tableSnapshot(ctx, string(pod.UID), &snap)
}

// labelsOfNext returns the labels of a VirtualMachine's next instance.
func labelsOfNext(vm *unstructured.Unstructured) map[string]string {
	labels, _, _ := unstructured.NestedStringMap(vm.Object, "spec", "template", "metadata", "labels")
	return labels
}

// tableSnapshot reads the operator's table in the JSON format of nft
// (libnftables-json(5)).
func (s *Scenario) tableSnapshot(ctx context.Context, podUID string, snap *Snapshot) error {
	out, err := s.PodNetnsExec(ctx, podUID, "nft", "-j", "list", "table", "inet", "meshvm")
	if err != nil {
		return err
	}
	var list struct {
		Nftables []struct {
			Table *struct {
				Handle uint64 `json:"handle"`
			} `json:"table"`
			Rule *struct {
				Expr []struct {
					Counter *struct {
						Packets uint64 `json:"packets"`
					} `json:"counter"`
				} `json:"expr"`
			} `json:"rule"`
		} `json:"nftables"`
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		return fmt.Errorf("decode the output of nft: %w", err)
	}
	for _, e := range list.Nftables {
		if e.Table != nil {
			snap.TableHandle = e.Table.Handle
		}
		if e.Rule == nil {
			continue
		}
		snap.Rules++
		for _, x := range e.Rule.Expr {
			if x.Counter != nil {
				snap.Packets += x.Counter.Packets
			}
		}
	}
	return nil
}
