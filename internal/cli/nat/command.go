// SPDX-License-Identifier: Apache-2.0

// Package nat is the verb "nat" of the plugin: the wanted rules of the pods of a machine,
// and what was read back from the kernel.
package nat

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cli/plugin"
)

// Command returns the verb.
func Command(p *plugin.Plugin) *cobra.Command {
	return &cobra.Command{
		Use:   "nat NAME",
		Short: "Compare the wanted NAT rules of a machine with those that were read back",
		Long: `Compare the wanted NAT rules of a machine with those that were read back.

For each pod, the command computes the rules with the code of the operator and compares their
digest with the digest of the rules that the rule-writer last read back from the kernel. It shows
each rule with the defects of the rules of KubeVirt and Istio that it corrects, the counters as of
the last audit, and the repairs.

The command needs only the role "view". It does not read the kernel.`,
		Example: `  # Show the rules of a machine
  kubectl meshvm nat web -n shop

  # Compare the rules in a script
  kubectl meshvm nat web -n shop -o json`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: p.CompleteName,
		RunE:              func(c *cobra.Command, args []string) error { return run(c.Context(), p, args[0]) },
	}
}

func run(ctx context.Context, p *plugin.Plugin, name string) error {
	if err := p.CheckFormat(); err != nil {
		return err
	}
	c, namespace, err := p.Connect()
	if err != nil {
		return err
	}
	o, err := gather(ctx, c, client.ObjectKey{Namespace: namespace, Name: name})
	if err != nil {
		return err
	}
	return p.Finish(compute(o))
}

// gather reads the PodNATConfigurations of a machine and their pods.
func gather(ctx context.Context, c client.Reader, key client.ObjectKey) (observed, error) {
	o := observed{mvm: &v1alpha1.MeshedVirtualMachine{}, pods: map[types.UID]*corev1.Pod{}}
	if err := c.Get(ctx, key, o.mvm); err != nil {
		return o, fmt.Errorf("read MeshedVirtualMachine %s: %w", key, err)
	}
	var list v1alpha1.PodNATConfigurationList
	if err := c.List(ctx, &list, client.InNamespace(key.Namespace)); err != nil {
		return o, fmt.Errorf("list PodNATConfigurations: %w", err)
	}
	for _, n := range list.Items {
		if !metav1.IsControlledBy(&n, o.mvm) {
			continue
		}
		o.nats = append(o.nats, n)
		pod := &corev1.Pod{}
		switch err := c.Get(ctx, client.ObjectKey{Namespace: key.Namespace, Name: n.Spec.Pod.Name}, pod); {
		case client.IgnoreNotFound(err) != nil:
			return o, fmt.Errorf("read pod %s: %w", n.Spec.Pod.Name, err)
		case err == nil && pod.UID == n.Spec.Pod.UID:
			o.pods[pod.UID] = pod
		}
	}
	return o, nil
}
