// SPDX-License-Identifier: Apache-2.0

// Package plugin contains what all verbs share: the connection to the API server, the
// output formats, and the exit codes.
package plugin

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Exit codes of all verbs.
const (
	// ExitAsDeclared means that the state is as declared.
	ExitAsDeclared = 0
	// ExitDiffers means that the state differs from what is declared.
	ExitDiffers = 1
	// ExitError means that the state could not be determined.
	ExitError = 2
)

// ErrDiffers is returned by verbs whose result differs from what is declared. The
// result has been printed.
var ErrDiffers = errors.New("the state differs from what is declared")

// Plugin contains the streams and the flags of an invocation.
type Plugin struct {
	genericiooptions.IOStreams

	flags  *genericclioptions.ConfigFlags
	output string
}

// New returns a plugin with the default values of the flags.
func New(streams genericiooptions.IOStreams) *Plugin {
	return &Plugin{IOStreams: streams, flags: genericclioptions.NewConfigFlags(true)}
}

// AddFlags adds the flags that all verbs have: those of kubectl for the connection, and
// --output.
func (p *Plugin) AddFlags(flags *pflag.FlagSet) {
	p.flags.AddFlags(flags)
	flags.StringVarP(&p.output, "output", "o", formatText, "The format of the output: text, json or yaml. All formats contain the same result.")
}

// Scheme returns the kinds that the verbs read as Go types.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(kubevirtv1.AddToScheme(scheme))
	return scheme
}

// Connect returns a client for the API server of the flags, and the selected namespace.
func (p *Plugin) Connect() (c client.WithWatch, namespace string, err error) {
	namespace, _, err = p.flags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	config, err := p.flags.ToRESTConfig()
	if err != nil {
		return nil, "", fmt.Errorf("read the kubeconfig: %w", err)
	}
	mapper, err := p.flags.ToRESTMapper()
	if err != nil {
		return nil, "", fmt.Errorf("discover the kinds of the cluster: %w", err)
	}
	c, err = client.NewWithWatch(config, client.Options{Scheme: Scheme(), Mapper: mapper})
	if err != nil {
		return nil, "", fmt.Errorf("connect to the API server: %w", err)
	}
	return c, namespace, nil
}

// CompleteName completes the name of one MeshedVirtualMachine.
func (p *Plugin) CompleteName(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, err := p.names(cmd.Context())
	if err != nil {
		return cobra.AppendActiveHelp(nil, err.Error()), cobra.ShellCompDirectiveNoFileComp
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (p *Plugin) names(ctx context.Context) ([]string, error) {
	c, namespace, err := p.Connect()
	if err != nil {
		return nil, err
	}
	var list v1alpha1.MeshedVirtualMachineList
	if err := c.List(ctx, &list, client.InNamespace(namespace)); err != nil {
		return nil, err
	}
	names := make([]string, 0, len(list.Items))
	for _, o := range list.Items {
		names = append(names, o.Name)
	}
	return names, nil
}
