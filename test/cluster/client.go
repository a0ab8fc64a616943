package cluster

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
)

// FieldOwner is the name under which the cluster's own objects are applied.
const FieldOwner = "local-cluster"

// RESTConfig is the administrator's way to the API server.
func (c *Cluster) RESTConfig() (*rest.Config, error) {
	config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig())
	if err != nil {
		return nil, err
	}
	config.QPS, config.Burst = 100, 200
	return config, nil
}

// Client reads and writes objects as the administrator. It knows the built-in
// kinds, and all others as unstructured objects.
func (c *Cluster) Client() client.Client { return c.client }

func (c *Cluster) connect() error {
	log.SetLogger(logr.Discard()) // controller-runtime complains when it has none
	config, err := c.RESTConfig()
	if err != nil {
		return err
	}
	c.client, err = client.New(config, client.Options{})
	return err
}

// Apply applies all objects of a YAML stream with server-side apply. Objects
// whose kind the API server does not know yet are retried.
func (c *Cluster) Apply(ctx context.Context, manifest []byte) error {
	objects, err := Decode(manifest)
	if err != nil {
		return err
	}
	return c.ApplyObjects(ctx, objects)
}

// ApplyObjects is Apply for objects that were decoded.
func (c *Cluster) ApplyObjects(ctx context.Context, objects []*unstructured.Unstructured) error {
	for _, o := range objects {
		what := o.GetKind() + " " + o.GetName()
		err := c.Wait(ctx, what+" to be accepted", func(ctx context.Context) (string, error) {
			o.SetManagedFields(nil)
			return "", c.client.Apply(ctx, client.ApplyConfigurationFromUnstructured(o),
				client.FieldOwner(FieldOwner), client.ForceOwnership)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// Decode reads a YAML stream. Namespaces and kinds' definitions come first.
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

// Kubectl runs the cluster's kubectl as administrator.
func (c *Cluster) Kubectl(ctx context.Context, s Stdio, args ...string) error {
	kube, err := c.builder.Tool(ctx, "kube")
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, kube, append([]string{"kubectl", "--kubeconfig", c.Kubeconfig()}, args...)...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = s.In, s.Out, s.Err
	return cmd.Run()
}

// nodeReady waits until the kubelet of this run has reported, and labels the
// node: KubeVirt's operator is placed by that label, and a kubelet may not set
// it on its own node.
func (c *Cluster) nodeReady(ctx context.Context) error {
	return c.Wait(ctx, "the node", func(ctx context.Context) (string, error) {
		var n corev1.Node
		if err := c.client.Get(ctx, client.ObjectKey{Name: NodeName}, &n); err != nil {
			return "", client.IgnoreNotFound(fmt.Errorf("not registered yet: %w", err))
		}
		ready := false
		for _, cond := range n.Status.Conditions {
			if cond.Type == corev1.NodeReady && cond.Status == corev1.ConditionTrue && c.sinceStart(cond.LastHeartbeatTime.Time) {
				ready = true
			}
		}
		if !ready {
			return "its condition Ready", nil
		}
		const label = "node-role.kubernetes.io/control-plane"
		if _, ok := n.Labels[label]; ok {
			return "", nil
		}
		patch := client.MergeFrom(n.DeepCopy())
		n.Labels[label] = ""
		return "", c.client.Patch(ctx, &n, patch)
	})
}

// sinceStart tells whether a time, which has whole seconds, is of this run.
func (c *Cluster) sinceStart(t time.Time) bool {
	return !t.Before(c.process.Started.Truncate(time.Second))
}
