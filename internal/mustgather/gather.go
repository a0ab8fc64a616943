// SPDX-License-Identifier: Apache-2.0

// Package mustgather collects the information that a support request about
// meshvm requires into a directory. It is read-only and reads no Secrets.
package mustgather

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
)

// LogReader reads the log of a container. GetLogs of the typed client
// implements it.
type LogReader func(ctx context.Context, namespace, pod string, o *corev1.PodLogOptions) (io.ReadCloser, error)

// Gatherer collects objects, events and logs.
type Gatherer struct {
	// Client reads unstructured objects from the API server.
	Client client.Reader
	// Logs reads logs.
	Logs LogReader
	// Dir is the output directory.
	Dir string
	// Since is the maximum age of log lines and events. Zero means unlimited.
	Since time.Time

	errs    []error
	written int
}

// operatorLabels select the objects of an installation.
var operatorLabels = client.MatchingLabels{"app.kubernetes.io/name": "meshvm"}

// Kinds that are not child kinds.
var (
	crdKind        = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}
	mvmKind        = v1alpha1.GroupVersion.WithKind("MeshedVirtualMachine")
	vmiKind        = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachineInstance"}
	migrationKind  = schema.GroupVersionKind{Group: "kubevirt.io", Version: "v1", Kind: "VirtualMachineInstanceMigration"}
	deploymentKind = schema.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}
	jobKind        = schema.GroupVersionKind{Group: "batch", Version: "v1", Kind: "Job"}
	podKind        = corev1.SchemeGroupVersion.WithKind("Pod")
	eventKind      = corev1.SchemeGroupVersion.WithKind("Event")
	configMapKind  = corev1.SchemeGroupVersion.WithKind("ConfigMap")
	nodeKind       = corev1.SchemeGroupVersion.WithKind("Node")
	leaseKind      = schema.GroupVersionKind{Group: "coordination.k8s.io", Version: "v1", Kind: "Lease"}
	gateHookKind   = schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "MutatingWebhookConfiguration"}
	specHookKind   = schema.GroupVersionKind{Group: "admissionregistration.k8s.io", Version: "v1", Kind: "ValidatingWebhookConfiguration"}
	apiServerKind  = schema.GroupVersionKind{Group: "config.openshift.io", Version: "v1", Kind: "APIServer"}
)

// Run collects everything that is accessible. Failures are written to
// errors.txt and returned as an error. Other files can exist despite an error.
func (g *Gatherer) Run(ctx context.Context, version string) error {
	if err := g.file("version", []byte("meshvm\n"+version+"\n")); err != nil {
		return err
	}
	g.cluster(ctx)
	for _, namespace := range g.namespacesOf(ctx, deploymentKind, operatorLabels) {
		g.operator(ctx, namespace)
	}
	for _, namespace := range g.namespacesOf(ctx, mvmKind) {
		g.tenant(ctx, namespace)
	}
	err := errors.Join(g.errs...)
	if err != nil {
		return errors.Join(err, g.file("errors.txt", []byte(err.Error()+"\n")))
	}
	return nil
}

// cluster collects cluster-scoped objects.
func (g *Gatherer) cluster(ctx context.Context) {
	g.objects(ctx, nodeKind, "")
	g.objects(ctx, gateHookKind, "", operatorLabels)
	g.objects(ctx, specHookKind, "", operatorLabels)
	g.objects(ctx, apiServerKind, "")
	for _, o := range g.list(ctx, crdKind, "") {
		for _, group := range []string{"meshvm.io", "kubevirt.io", "istio.io"} {
			if name := o.GetName(); strings.HasSuffix(name, "."+group) {
				unstructured.RemoveNestedField(o.Object, "spec", "versions") // the CRDs
				g.object(&o)
			}
		}
	}
}

// operator collects the namespace of an installation.
func (g *Gatherer) operator(ctx context.Context, namespace string) {
	g.objects(ctx, deploymentKind, namespace, operatorLabels)
	g.objects(ctx, configMapKind, namespace, operatorLabels)
	g.objects(ctx, leaseKind, namespace)
	g.objects(ctx, jobKind, namespace)
	g.events(ctx, namespace)
	for _, pod := range g.objects(ctx, podKind, namespace) {
		g.logs(ctx, &pod)
	}
}

// tenant collects a namespace with MeshedVirtualMachines.
func (g *Gatherer) tenant(ctx context.Context, namespace string) {
	g.objects(ctx, mvmKind, namespace)
	ours := client.MatchingLabels{v1alpha1.LabelManagedBy: v1alpha1.ManagedByValue}
	for _, kind := range children.Kinds() {
		g.objects(ctx, kind.GroupVersionKind, namespace, ours)
	}
	ofVMs := client.HasLabels{v1alpha1.LabelMeshedVirtualMachine}
	g.objects(ctx, vmiKind, namespace)
	g.objects(ctx, migrationKind, namespace)
	g.objects(ctx, podKind, namespace, ofVMs)
	g.events(ctx, namespace)
}

func (g *Gatherer) namespacesOf(ctx context.Context, kind schema.GroupVersionKind, options ...client.ListOption) []string {
	var out []string
	seen := map[string]bool{}
	for _, o := range g.list(ctx, kind, "", options...) {
		if n := o.GetNamespace(); !seen[n] {
			seen[n] = true
			out = append(out, n)
		}
	}
	return out
}

// list returns the objects of a kind, or none if the kind is not served.
func (g *Gatherer) list(ctx context.Context, kind schema.GroupVersionKind, namespace string, options ...client.ListOption) []unstructured.Unstructured {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(kind.GroupVersion().WithKind(kind.Kind + "List"))
	if err := g.Client.List(ctx, list, append(options, client.InNamespace(namespace))...); err != nil && !meta.IsNoMatchError(err) {
		g.errs = append(g.errs, fmt.Errorf("list %s in %q: %w", kind.Kind, namespace, err))
	}
	return list.Items
}

// objects writes each object of a kind to a separate file.
func (g *Gatherer) objects(ctx context.Context, kind schema.GroupVersionKind, namespace string, options ...client.ListOption) []unstructured.Unstructured {
	items := g.list(ctx, kind, namespace, options...)
	for i := range items {
		g.object(&items[i])
	}
	return items
}

func (g *Gatherer) object(o *unstructured.Unstructured) {
	o.SetManagedFields(nil)
	redactSecrets(o.Object)
	text, err := yaml.Marshal(o.Object)
	if err == nil {
		err = g.file(filepath.Join(g.place(o.GetNamespace()), strings.ToLower(o.GetKind()), o.GetName()+".yaml"), text)
	}
	if err != nil {
		g.errs = append(g.errs, err)
	}
}

func (g *Gatherer) place(namespace string) string {
	if namespace == "" {
		return "cluster"
	}
	return filepath.Join("namespaces", namespace)
}

// events writes all events of a namespace to one file.
func (g *Gatherer) events(ctx context.Context, namespace string) {
	var recent []any
	for _, o := range g.list(ctx, eventKind, namespace) {
		if last := lastSeen(&o); last.IsZero() || !last.Before(g.Since) {
			o.SetManagedFields(nil)
			recent = append(recent, o.Object)
		}
	}
	text, err := yaml.Marshal(map[string]any{"apiVersion": "v1", "kind": "List", "items": recent})
	if err == nil {
		err = g.file(filepath.Join(g.place(namespace), "events.yaml"), text)
	}
	if err != nil {
		g.errs = append(g.errs, err)
	}
}

// lastSeen returns the time of the latest occurrence of an event.
func lastSeen(event *unstructured.Unstructured) time.Time {
	for _, path := range [][]string{{"series", "lastObservedTime"}, {"lastTimestamp"}, {"eventTime"}} {
		text, _, _ := unstructured.NestedString(event.Object, path...)
		if t, err := time.Parse(time.RFC3339, text); err == nil {
			return t
		}
	}
	return time.Time{}
}

// logs writes the logs of all containers of a pod and of their previous
// instances.
func (g *Gatherer) logs(ctx context.Context, pod *unstructured.Unstructured) {
	statuses, _, _ := unstructured.NestedSlice(pod.Object, "status", "containerStatuses")
	for _, s := range statuses {
		status, _ := s.(map[string]any)
		name, _, _ := unstructured.NestedString(status, "name")
		restarts, _, _ := unstructured.NestedInt64(status, "restartCount")
		g.log(ctx, pod, name, false)
		if restarts > 0 {
			g.log(ctx, pod, name, true)
		}
	}
}

func (g *Gatherer) log(ctx context.Context, pod *unstructured.Unstructured, container string, previous bool) {
	o := &corev1.PodLogOptions{Container: container, Previous: previous, Timestamps: true}
	if !g.Since.IsZero() {
		o.SinceTime = &metav1.Time{Time: g.Since}
	}
	name := container + ".log"
	if previous {
		name = container + ".previous.log"
	}
	err := g.copyLog(ctx, pod, o, filepath.Join(g.place(pod.GetNamespace()), "pod", pod.GetName(), name))
	if err != nil {
		g.errs = append(g.errs, fmt.Errorf("log of %s/%s, container %s: %w", pod.GetNamespace(), pod.GetName(), container, err))
	}
}

func (g *Gatherer) copyLog(ctx context.Context, pod *unstructured.Unstructured, o *corev1.PodLogOptions, path string) error {
	r, err := g.Logs(ctx, pod.GetNamespace(), pod.GetName(), o)
	if err != nil {
		return err
	}
	defer r.Close() //nolint:errcheck // only read
	text, err := io.ReadAll(r)
	return errors.Join(err, g.file(path, text))
}

func (g *Gatherer) file(path string, content []byte) error {
	path = filepath.Join(g.Dir, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	g.written++
	return os.WriteFile(path, content, 0o644)
}

// Written returns the number of files.
func (g *Gatherer) Written() int { return g.written }

// secretFields are fields of virtual machines that can contain passwords and
// keys (KubeVirt: CloudInitNoCloudSource, CloudInitConfigDriveSource).
var secretFields = []string{"userData", "userDataBase64", "networkData", "networkDataBase64"}

// secretAnnotation contains Ignition data. KubeVirt copies it from a template
// to the VirtualMachineInstance and the pod (KubeVirt: IgnitionAnnotation).
const secretAnnotation = kubevirtv1.IgnitionAnnotation

// redacted replaces a secret value.
const redacted = "(omitted by must-gather)"

// redactSecrets replaces secret values at any depth.
func redactSecrets(value any) {
	switch v := value.(type) {
	case map[string]any:
		for _, name := range secretFields {
			if _, ok := v[name]; ok {
				v[name] = redacted
			}
		}
		annotations, ok := v["annotations"].(map[string]any)
		if ok { // It contains the same fields again.
			delete(annotations, corev1.LastAppliedConfigAnnotation)
			if _, ok := annotations[secretAnnotation]; ok {
				annotations[secretAnnotation] = redacted
			}
		}
		for _, inner := range v {
			redactSecrets(inner)
		}
	case []any:
		for _, inner := range v {
			redactSecrets(inner)
		}
	}
}
