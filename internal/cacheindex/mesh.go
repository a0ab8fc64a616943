// SPDX-License-Identifier: Apache-2.0

package cacheindex

import (
	"context"
	"errors"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/meshpolicy"
)

const (
	// Guest is the index of Istio's objects by the MeshedVirtualMachines to which they
	// can apply.
	Guest = "guest"
	// Selector is the index of Istio's policies by the workloads that they select
	// (meshpolicy.SelectorKey). Policies for other workloads are not read.
	Selector = "selector"
	// EveryGuest is the key of an object that can apply to any MeshedVirtualMachine.
	EveryGuest = "*"
)

// AddGuest adds the indexes Guest and Selector of a kind of Istio.
func AddGuest(ctx context.Context, indexer client.FieldIndexer, o client.Object) error {
	return errors.Join(add(ctx, indexer, o, Guest, Guests), add(ctx, indexer, o, Selector, selectors))
}

func selectors(o client.Object) []string {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return nil
	}
	return []string{meshpolicy.SelectorKey(selectorOf(u))}
}

// selectorOf returns the labels that a policy or a Sidecar selects.
func selectorOf(u *unstructured.Unstructured) map[string]string {
	selector, found, _ := unstructured.NestedStringMap(u.Object, "spec", "selector", "matchLabels")
	if !found {
		selector, _, _ = unstructured.NestedStringMap(u.Object, "spec", "workloadSelector", "labels")
	}
	return selector
}

// Guests returns the names of the MeshedVirtualMachines to which an object of Istio can
// apply, or EveryGuest. The object of a name may still apply to none of them:
//
//   - A policy whose selector contains the operator's label applies only to pods with
//     this label.
//   - A route or a traffic policy for a host applies only to the Service of this name.
func Guests(o client.Object) []string {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return []string{EveryGuest}
	}
	hosts, _, _ := unstructured.NestedStringSlice(u.Object, "spec", "hosts")
	if host, found, _ := unstructured.NestedString(u.Object, "spec", "host"); found {
		hosts = append(hosts, host)
	}
	if len(hosts) > 0 {
		return guestsOf(hosts)
	}
	if name := selectorOf(u)[v1alpha1.LabelMeshedVirtualMachine]; name != "" {
		return []string{name}
	}
	return []string{EveryGuest}
}

// SelectedVirtualMachine returns the name of the VirtualMachine whose pods a policy selects by
// KubeVirt's label, as the policies of an existing VirtualMachine do, or an empty string.
func SelectedVirtualMachine(o client.Object) string {
	u, ok := o.(*unstructured.Unstructured)
	if !ok {
		return ""
	}
	name, _, _ := unstructured.NestedString(u.Object, "spec", "selector", "matchLabels", kubevirtv1.VirtualMachineInstanceIDLabel)
	return name
}

// guestsOf returns the first labels of the hosts, which are the names of the Services,
// or EveryGuest if one is a wildcard (meshpolicy.Covers).
func guestsOf(hosts []string) []string {
	var out []string
	for _, host := range hosts {
		if strings.HasPrefix(host, "*") {
			return []string{EveryGuest}
		}
		name, _, _ := strings.Cut(host, ".")
		out = append(out, name)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
