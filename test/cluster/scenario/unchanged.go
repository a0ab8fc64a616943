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
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Snapshot is what an upgrade of the operator must leave as it is, and what it
// may change without harm.
type Snapshot struct {
	// Kept are UIDs, generations, specs and restarts by what they are of.
	Kept map[string]string
	// TableHandle is the kernel's number of the table: another one is another
	// table, put in the place of the first in one transaction.
	TableHandle uint64
	// Rules counts the table's rules, Packets the packets that its counters saw.
	Rules   int
	Packets uint64
	// Labels are those that the VirtualMachine gives its next instance.
	Labels string
	// Digest is of the request that status reports is applied.
	Digest string
}

// Snapshot looks at the sample and its pod.
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
		if err := s.Get(ctx, objectKey(), u); err != nil {
			return snap, err
		}
		spec, err := json.Marshal(u.Object["spec"])
		if err != nil {
			return snap, err
		}
		snap.Kept[of.kind+" uid"] = string(u.GetUID())
		switch of.kind {
		case "MeshedVirtualMachine":
			// The object has the defaults of fields that a newer version added.
			snap.Kept[of.kind+" generation"] = fmt.Sprint(u.GetGeneration())
		case "VirtualMachine":
			// The labels of the next instance may become others; what it consists of may not.
			part, _, _ := unstructured.NestedMap(u.Object, "spec", "template", "spec")
			if spec, err = json.Marshal(part); err != nil {
				return snap, err
			}
			snap.Kept[of.kind+" template's spec"] = string(spec)
			snap.Kept[of.kind+" restart required"] = fmt.Sprint(strings.Contains(fmt.Sprint(u.Object["status"]), "RestartRequired"))
			snap.Labels = fmt.Sprint(labelsOfNext(u))
		case "Service":
			snap.Kept[of.kind+" generation"] = fmt.Sprint(u.GetGeneration())
			snap.Kept[of.kind+" spec"] = string(spec)
		}
	}
	var now corev1.Pod
	if err := s.Get(ctx, client.ObjectKeyFromObject(pod), &now); err != nil {
		return snap, err
	}
	snap.Kept["launcher pod uid"] = string(now.UID)
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

// labelsOfNext are the labels that a VirtualMachine gives its next instance.
func labelsOfNext(vm *unstructured.Unstructured) map[string]string {
	labels, _, _ := unstructured.NestedStringMap(vm.Object, "spec", "template", "metadata", "labels")
	return labels
}

// tableSnapshot reads the operator's table as nft prints it in JSON
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
		return fmt.Errorf("nft printed something else: %w", err)
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
