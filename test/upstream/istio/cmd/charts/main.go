// SPDX-License-Identifier: Apache-2.0

// Command charts renders a Helm chart that is embedded in Istio's module, with
// Istio's renderer:
//
//	charts NAMESPACE CHART KUBERNETES-VERSION <values.yaml >manifests.yaml
//
// CHART is a directory of manifests/charts, for example
// istio-control/istio-discovery.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"istio.io/istio/operator/pkg/helm"
	"istio.io/istio/operator/pkg/values"
	"k8s.io/apimachinery/pkg/version"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "charts:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 3 {
		return errors.New("usage: charts NAMESPACE CHART KUBERNETES-VERSION <values.yaml")
	}
	raw, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	given, err := values.MapFromYaml(raw)
	if err != nil {
		return fmt.Errorf("values: %w", err)
	}
	numbers := strings.SplitN(strings.TrimPrefix(args[2], "v"), ".", 3)
	if len(numbers) != 3 {
		return fmt.Errorf("Kubernetes version %q: must be vMAJOR.MINOR.PATCH", args[2])
	}
	operator := values.Map{"spec": map[string]any{"values": map[string]any(given)}}
	manifests, warnings, err := helm.Render("istio", args[0], args[1], operator,
		&version.Info{GitVersion: args[2], Major: numbers[0], Minor: numbers[1]})
	if warnings != nil {
		fmt.Fprintln(os.Stderr, "charts: warning:", warnings)
	}
	if err != nil {
		return err
	}
	for _, m := range manifests {
		fmt.Printf("---\n%s\n", m.Content)
	}
	return nil
}
