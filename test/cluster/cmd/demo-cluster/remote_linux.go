// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/scenario"
)

// existingCluster shows the scenario on the cluster of a kubeconfig.
func existingCluster(ctx context.Context, b *builder.Builder, o options) error {
	if _, err := exec.LookPath(o.kubectl); err != nil {
		return fmt.Errorf("%w: install kubectl or set KUBECTL=", err)
	}
	c, err := cluster.Remote(o.kubeconfig, o.kubectl, b)
	if err != nil {
		return err
	}
	if err := installed(c); err != nil {
		return err
	}
	s := scenario.Remote(c, scenario.Images{
		Guest: o.images.guest, Disk: o.images.disk, Client: o.images.client, Shell: o.images.shell,
	})
	if err := s.OperatorReady(ctx); err != nil {
		return fmt.Errorf("%w\ndeploy the operator: make deploy", err)
	}
	pod, clients, err := s.Sample(ctx)
	if err == nil {
		err = s.Show(ctx, os.Stdout, pod, clients)
	}
	fmt.Fprintf(os.Stderr, `
inspect: %[1]s -n %[2]s describe mvm %[3]s
delete:  %[1]s -n %[2]s delete mvm %[3]s && %[1]s delete namespace %[2]s && %[1]s -n default delete pod %[4]s
`, o.kubectl, scenario.Namespace, scenario.Name, scenario.ClientName)
	return err
}

// installed checks that the cluster has the kinds that the scenario needs.
func installed(c *cluster.Cluster) error {
	for _, need := range []struct {
		kind    schema.GroupKind
		version string
		how     string
	}{
		{schema.GroupKind{Group: "kubevirt.io", Kind: "VirtualMachine"}, "v1", "install KubeVirt: https://kubevirt.io/quickstart_kind/"},
		{schema.GroupKind{Group: "networking.istio.io", Kind: "DestinationRule"}, "v1", "install Istio: istioctl install"},
		{schema.GroupKind{Group: "meshvm.io", Kind: "MeshedVirtualMachine"}, "v1alpha1", "deploy the operator: make deploy"},
	} {
		_, err := c.RESTMapper().RESTMapping(need.kind, need.version)
		if meta.IsNoMatchError(err) {
			return fmt.Errorf("the cluster does not serve the kind %s\n%s", need.kind, need.how)
		}
		if err != nil {
			return err
		}
	}
	return nil
}
