// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/controlplane"
	"meshvm.io/meshvm/test/cluster/kube"
)

// controlPlane shows the objects that the operator creates for the sample.
func controlPlane(ctx context.Context, b *builder.Builder) (err error) {
	c, err := controlplane.Start(ctx, b)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	sample, err := c.Kustomize(ctx, filepath.Join(b.Repo, "config/samples"))
	if err != nil {
		return err
	}
	c.Logf("applying config/samples")
	if err := c.ApplyManifest(ctx, sample); err != nil {
		return err
	}
	err = c.Wait(ctx, "the operator's objects", func(ctx context.Context) (string, error) { return missingConditions(ctx, c.API) })
	if err != nil {
		return err
	}
	for _, args := range [][]string{
		{"get", "mvm", "web"},
		{"get", strings.Join(children.Resources(), ",")},
		{"get", "mvm", "web", "-o", `jsonpath={range .status.conditions[*]}{.type}{"\t"}{.status}{"\t"}{.reason}{"\t"}{.message}{"\n"}{end}`},
	} {
		args = append([]string{"-n", "shop"}, args...)
		fmt.Printf("\n== kubectl %s\n", strings.Join(args, " "))
		if err := c.Kubectl(ctx, kube.Stdio{Out: os.Stdout, Err: os.Stderr}, args...); err != nil {
			return err
		}
	}
	fmt.Println("\n== done; everything was stopped. As root on a Debian-like Linux the demo boots the guest and sends packets.")
	return nil
}

// missingConditions returns the conditions that do not require a node and are
// not True yet.
func missingConditions(ctx context.Context, api *kube.API) (string, error) {
	m := &unstructured.Unstructured{}
	m.SetAPIVersion("meshvm.io/v1alpha1")
	m.SetKind("MeshedVirtualMachine")
	if err := api.Get(ctx, client.ObjectKey{Namespace: "shop", Name: "web"}, m); err != nil {
		return "", err
	}
	conditions, _, err := unstructured.NestedSlice(m.Object, "status", "conditions")
	if err != nil {
		return "", err
	}
	state := map[string]string{"Accepted": "not reported", "MeshPolicyApplied": "not reported"}
	for _, c := range conditions {
		m, ok := c.(map[string]any)
		if !ok {
			continue
		}
		kind, _ := m["type"].(string)
		if _, wanted := state[kind]; !wanted {
			continue
		}
		if m["status"] == "True" {
			delete(state, kind)
			continue
		}
		state[kind] = fmt.Sprint(m["reason"], ": ", m["message"])
	}
	var missing []string
	for kind, why := range state {
		missing = append(missing, kind+" ("+why+")")
	}
	return strings.Join(missing, ", "), nil
}
