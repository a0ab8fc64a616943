// SPDX-License-Identifier: Apache-2.0

// Package status is the verb "status" of the plugin: the state of a machine and its
// objects, and who must act next.
package status

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/cli/plugin"
)

// verb is an invocation of the verb.
type verb struct {
	*plugin.Plugin
	allNamespaces, watch bool
}

// Command returns the verb.
func Command(p *plugin.Plugin) *cobra.Command {
	v := &verb{Plugin: p}
	c := &cobra.Command{
		Use:   "status [NAME]",
		Short: "Show the state of machines, and who must act next",
		Long: `Show the state of machines, and who must act next.

With a name, the command shows the objects of the machine as a tree: VirtualMachine, pods,
rules, Jobs, Service, endpoints and Istio objects. Pauses and the condition that prevents the
declared state precede the tree. Without a name, it lists the machines of the namespace.

The command needs only the role "view". It names the kinds that the role does not contain.`,
		Example: `  # List the machines of the current namespace
  kubectl meshvm status

  # List the machines of all namespaces
  kubectl meshvm status -A

  # Show a machine
  kubectl meshvm status web -n shop

  # Show the progress of a machine until it is as declared
  kubectl meshvm status web -n shop -w`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: p.CompleteName,
		RunE:              func(c *cobra.Command, args []string) error { return v.run(c.Context(), args) },
	}
	c.Flags().BoolVarP(&v.allNamespaces, "all-namespaces", "A", false, "List the machines of all namespaces.")
	c.Flags().BoolVarP(&v.watch, "watch", "w", false, "Show each change until the machine is Ready. Requires a name.")
	return c
}

func (v *verb) run(ctx context.Context, args []string) error {
	switch {
	case v.allNamespaces && len(args) > 0:
		return errors.New("--all-namespaces and a name exclude each other: use --namespace to select the namespace of a machine")
	case v.watch && len(args) == 0:
		return errors.New("--watch requires the name of a machine")
	}
	if err := v.CheckFormat(); err != nil {
		return err
	}
	c, namespace, err := v.Connect()
	if err != nil {
		return err
	}
	if len(args) == 0 {
		if v.allNamespaces {
			namespace = ""
		}
		return v.list(ctx, c, namespace)
	}
	key := client.ObjectKey{Namespace: namespace, Name: args[0]}
	if v.watch {
		if err := v.follow(ctx, c, key); err != nil {
			return err
		}
	}
	return v.show(ctx, c, key)
}

func (v *verb) list(ctx context.Context, c client.Reader, namespace string) error {
	var list v1alpha1.MeshedVirtualMachineList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return fmt.Errorf("list MeshedVirtualMachines: %w", err)
	}
	machines := make([]Machine, 0, len(list.Items))
	for i := range list.Items {
		machines = append(machines, summary(&list.Items[i]))
	}
	return v.Finish(several(namespace, machines))
}

func (v *verb) show(ctx context.Context, c client.Reader, key client.ObjectKey) error {
	mvm := &v1alpha1.MeshedVirtualMachine{}
	if err := c.Get(ctx, key, mvm); err != nil {
		return fmt.Errorf("read MeshedVirtualMachine %s: %w", key, err)
	}
	o, err := gather(ctx, c, mvm)
	if err != nil {
		return err
	}
	return v.Finish(single(machine(o)))
}

// follow prints the verdict after each change until the machine has the declared state.
func (v *verb) follow(ctx context.Context, c client.WithWatch, key client.ObjectKey) error {
	last := ""
	for {
		done, err := v.followOnce(ctx, c, key, &last)
		if done || err != nil {
			return err
		}
	}
}

// followOnce watches the machine until the API server ends the watch, as it does after
// some minutes.
func (v *verb) followOnce(ctx context.Context, c client.WithWatch, key client.ObjectKey, last *string) (done bool, err error) {
	mvm := &v1alpha1.MeshedVirtualMachine{}
	if err := c.Get(ctx, key, mvm); err != nil {
		return false, fmt.Errorf("read MeshedVirtualMachine %s: %w", key, err)
	}
	if v.progress(mvm, last) {
		return true, nil
	}
	w, err := c.Watch(ctx, &v1alpha1.MeshedVirtualMachineList{}, client.InNamespace(key.Namespace), &client.ListOptions{
		FieldSelector: fields.OneTermEqualSelector(metav1.ObjectNameField, key.Name),
		Raw:           &metav1.ListOptions{ResourceVersion: mvm.ResourceVersion},
	})
	if err != nil {
		return false, fmt.Errorf("watch MeshedVirtualMachine %s: %w", key, err)
	}
	defer w.Stop()
	for {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case e, open := <-w.ResultChan():
			if !open || e.Type == watch.Error {
				return false, nil
			}
			if o, ok := e.Object.(*v1alpha1.MeshedVirtualMachine); ok && v.progress(o, last) {
				return true, nil
			}
			if e.Type == watch.Deleted {
				return false, fmt.Errorf("MeshedVirtualMachine %s was deleted", key)
			}
		}
	}
}

// progress prints the blocker of the machine if it changed, and reports whether the
// machine is Ready.
func (v *verb) progress(mvm *v1alpha1.MeshedVirtualMachine, last *string) (done bool) {
	m := summary(mvm)
	if m.Blocker == nil {
		return true
	}
	if line := fmt.Sprintf("%s (%s): %s", m.Blocker.Condition, m.Blocker.Reason, m.Blocker.Message); v.IsText() && line != *last {
		fmt.Fprintln(v.Out, line)
		*last = line
	}
	return false
}
