// SPDX-License-Identifier: Apache-2.0

// Package kube is a client of an API server for the local cluster, its tests and
// the demo. It applies manifests and waits for conditions.
package kube

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// FieldOwner is the field manager of the cluster's objects.
const FieldOwner = "local-cluster"

// API is a client of one API server.
type API struct {
	client.Client
	// Kubeconfig is the path of the administrator's kubeconfig.
	Kubeconfig string
	// Command runs kubectl: a program, and arguments that precede kubectl's.
	Command []string
	// Logf prints a line of progress.
	Logf func(format string, args ...any)
}

// Connect returns a client. program is the path of the multi-call binary of
// Kubernetes. The client knows the built-in kinds. Objects of other kinds are
// unstructured.
func Connect(kubeconfig, program string, logf func(string, ...any)) (*API, error) {
	return ConnectWith(kubeconfig, []string{program, "kubectl"}, logf)
}

// ConnectWith is Connect with another command for kubectl.
func ConnectWith(kubeconfig string, command []string, logf func(string, ...any)) (*API, error) {
	log.SetLogger(logr.Discard()) // controller-runtime logs a warning if no logger is set
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	c, err := client.New(config, client.Options{})
	return &API{Client: c, Kubeconfig: kubeconfig, Command: command, Logf: logf}, err
}

// ApplyManifest applies all objects of a YAML stream with server-side apply. Objects
// whose kind the API server does not know yet are retried.
func (c *API) ApplyManifest(ctx context.Context, manifest []byte) error {
	objects, err := Decode(manifest)
	if err != nil {
		return err
	}
	return c.ApplyObjects(ctx, objects)
}

// ApplyObjects is ApplyManifest for decoded objects.
func (c *API) ApplyObjects(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		what := o.GetKind() + " " + o.GetName()
		err := c.Wait(ctx, what+" to be accepted", func(ctx context.Context) (string, error) {
			o.SetManagedFields(nil)
			return "", c.Apply(ctx, client.ApplyConfigurationFromUnstructured(o),
				client.FieldOwner(FieldOwner), client.ForceOwnership)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// DeleteObjects deletes objects in reverse order and waits until they are deleted.
// Objects and kinds that do not exist are ignored.
func (c *API) DeleteObjects(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range slices.Backward(objects) {
		what := o.GetKind() + " " + o.GetName()
		err := c.Wait(ctx, what+" to be deleted", func(ctx context.Context) (string, error) {
			err := c.Delete(ctx, o)
			if apierrors.IsNotFound(err) || meta.IsNoMatchError(err) {
				return "", nil
			}
			return "its deletion", err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Decode reads a YAML stream. Namespaces and CRDs are the first objects.
func Decode(manifest []byte) ([]*unstructured.Unstructured, error) {
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("manifest: %w", err)
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
	order := func(o *unstructured.Unstructured) int {
		switch o.GetKind() {
		case "Namespace", "CustomResourceDefinition":
			return 0
		}
		return 1
	}
	slices.SortStableFunc(out, func(a, b *unstructured.Unstructured) int { return order(a) - order(b) })
	return out, nil
}

// Stdio contains the streams of a command. A nil stream is empty.
type Stdio struct {
	In       io.Reader
	Out, Err io.Writer
}

// Kubectl runs kubectl as administrator.
func (c *API) Kubectl(ctx context.Context, s Stdio, args ...string) error {
	all := slices.Concat(c.Command[1:], []string{"--kubeconfig", c.Kubeconfig}, args)
	cmd := exec.CommandContext(ctx, c.Command[0], all...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	return cmd.Run()
}

// Kustomize builds a directory and returns its manifests.
func (c *API) Kustomize(ctx context.Context, dir string) ([]byte, error) {
	var out, errs bytes.Buffer
	if err := c.Kubectl(ctx, Stdio{Out: &out, Err: &errs}, "kustomize", dir); err != nil {
		return nil, fmt.Errorf("kustomize build %s: %w: %s", dir, err, errs.String())
	}
	return out.Bytes(), nil
}
