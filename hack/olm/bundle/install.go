// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/operator-framework/api/pkg/operators/v1alpha1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// applied are the kinds that both OLM v0 and v1 apply from a bundle:
// operator-registry's pkg/lib/bundle/supported_resources.go without PodMonitor,
// which OLM v0's catalog operator does not know.
var applied = set("CustomResourceDefinition", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding",
	"ServiceAccount", "Service", "ConfigMap", "Secret", "PodDisruptionBudget", "PriorityClass", "NetworkPolicy",
	"ServiceMonitor", "PrometheusRule", "ConsoleYAMLSample", "ConsoleQuickStart", "ConsoleCLIDownload", "ConsoleLink", "ConsolePlugin")

func set(names ...string) map[string]bool {
	s := map[string]bool{}
	for _, n := range names {
		s[n] = true
	}
	return s
}

// moveIntoCSV moves objects into the ClusterServiceVersion if it has fields for
// them, and returns the other objects.
//
// Roles are not moved. OLM v0 grants the "permissions" of an operator that is
// installed for all namespaces in the whole cluster (operatorgroup.go,
// ensureSingletonRBAC), and OLM v1 does the same. The manager would be allowed
// to create Jobs in every namespace.
func moveIntoCSV(csv *v1alpha1.ClusterServiceVersion, objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	m := mover{strategy: &csv.Spec.InstallStrategy.StrategySpec, dropped: map[string]bool{}}
	csv.Spec.InstallStrategy.StrategyName = v1alpha1.InstallStrategyNameDeployment
	// Deployments are first because webhooks refer to them, and bindings refer
	// to their ServiceAccounts.
	for _, kinds := range []map[string]bool{set("Deployment"), set("ClusterRoleBinding", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")} {
		for _, o := range objects {
			if !kinds[o.GetKind()] {
				continue
			}
			if err := m.move(csv, o, objects); err != nil {
				return nil, fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
			}
		}
	}
	var rest []*unstructured.Unstructured
	for _, o := range objects {
		// The installer chooses the namespace. The CSV suggests it.
		if o.GetKind() != "Namespace" && !m.dropped[key(o)] {
			rest = append(rest, o)
		}
	}
	return rest, nil
}

type mover struct {
	strategy *v1alpha1.StrategyDetailsDeployment
	// dropped are the objects that the CSV replaces.
	dropped map[string]bool
}

func key(o *unstructured.Unstructured) string { return o.GetKind() + "/" + o.GetName() }

func (m mover) move(csv *v1alpha1.ClusterServiceVersion, o *unstructured.Unstructured, all []*unstructured.Unstructured) error {
	switch o.GetKind() {
	case "Deployment":
		var d appsv1.Deployment
		if err := convert(o, &d); err != nil {
			return err
		}
		m.strategy.DeploymentSpecs = append(m.strategy.DeploymentSpecs, v1alpha1.StrategyDeploymentSpec{Name: d.Name, Label: d.Labels, Spec: d.Spec})
		// OLM creates the ServiceAccounts that the CSV names.
		m.dropped["ServiceAccount/"+d.Spec.Template.Spec.ServiceAccountName] = true
	case "ClusterRoleBinding":
		return m.permissions(o, all)
	default:
		hooks, err := webhooks(o, all)
		if err != nil {
			return err
		}
		csv.Spec.WebhookDefinitions = append(csv.Spec.WebhookDefinitions, hooks.definitions...)
		m.dropped["Service/"+hooks.service] = true
	}
	m.dropped[key(o)] = true
	return nil
}

// permissions adds a ClusterRole that is bound to the ServiceAccount of a
// deployment.
func (m mover) permissions(o *unstructured.Unstructured, all []*unstructured.Unstructured) error {
	var binding rbacv1.ClusterRoleBinding
	if err := convert(o, &binding); err != nil {
		return err
	}
	if len(binding.Subjects) != 1 || !m.dropped["ServiceAccount/"+binding.Subjects[0].Name] {
		return nil
	}
	i := slices.IndexFunc(all, func(r *unstructured.Unstructured) bool {
		return r.GetKind() == "ClusterRole" && r.GetName() == binding.RoleRef.Name
	})
	if i < 0 {
		// A built-in role of the cluster, for example system:auth-delegator.
		return nil
	}
	var role rbacv1.ClusterRole
	if err := convert(all[i], &role); err != nil {
		return err
	}
	m.strategy.ClusterPermissions = append(m.strategy.ClusterPermissions, v1alpha1.StrategyDeploymentPermissions{
		ServiceAccountName: binding.Subjects[0].Name, Rules: role.Rules,
	})
	m.dropped[key(o)], m.dropped[key(all[i])] = true, true
	return nil
}

// hooks are the webhooks of one configuration and their Service.
type hooks struct {
	definitions []v1alpha1.WebhookDescription
	service     string
}

// webhooks adds a configuration to the CSV. OLM creates the Service, the
// certificate and the configuration.
func webhooks(o *unstructured.Unstructured, all []*unstructured.Unstructured) (hooks, error) {
	var h hooks
	kind := v1alpha1.MutatingAdmissionWebhook
	var config admissionv1.MutatingWebhookConfiguration // a superset of the other
	if o.GetKind() == "ValidatingWebhookConfiguration" {
		kind = v1alpha1.ValidatingAdmissionWebhook
	}
	if err := convert(o, &config); err != nil {
		return h, err
	}
	for _, w := range config.Webhooks {
		// A webhook that may be ignored repeats its match conditions in its handler.
		optional := w.FailurePolicy != nil && *w.FailurePolicy == admissionv1.Ignore
		if w.NamespaceSelector != nil || len(w.MatchConditions) > 0 && !optional {
			return h, fmt.Errorf("webhook %s has a namespaceSelector or matchConditions, which OLM does not support: use an objectSelector and check the rest in the handler", w.Name)
		}
		service, deployment, port, err := backend(w.ClientConfig.Service, all)
		if err != nil {
			return h, fmt.Errorf("webhook %s: %w", w.Name, err)
		}
		h.service = service
		sideEffects := w.SideEffects
		h.definitions = append(h.definitions, v1alpha1.WebhookDescription{
			GenerateName: w.Name, Type: kind, DeploymentName: deployment,
			ContainerPort: 443, TargetPort: &port, Rules: w.Rules, FailurePolicy: w.FailurePolicy, MatchPolicy: w.MatchPolicy,
			ObjectSelector: w.ObjectSelector, SideEffects: sideEffects, TimeoutSeconds: w.TimeoutSeconds,
			AdmissionReviewVersions: w.AdmissionReviewVersions, ReinvocationPolicy: w.ReinvocationPolicy, WebhookPath: w.ClientConfig.Service.Path,
		})
	}
	return h, nil
}

// backend returns the deployment of a Service and the port of the container.
func backend(ref *admissionv1.ServiceReference, all []*unstructured.Unstructured) (service, deployment string, port intstr.IntOrString, err error) {
	if ref == nil {
		return "", "", port, fmt.Errorf("does not name a Service")
	}
	var s corev1.Service
	for _, o := range all {
		if o.GetKind() == "Service" && o.GetName() == ref.Name {
			if err := convert(o, &s); err != nil {
				return "", "", port, err
			}
		}
	}
	for _, p := range s.Spec.Ports {
		if ref.Port == nil && p.Port == 443 || ref.Port != nil && p.Port == *ref.Port {
			port = p.TargetPort
		}
	}
	for _, o := range all {
		var d appsv1.Deployment
		if o.GetKind() != "Deployment" || s.Name == "" {
			continue
		}
		if err := convert(o, &d); err != nil {
			return "", "", port, err
		}
		labels := d.Spec.Template.Labels
		matches := true
		for k, v := range s.Spec.Selector {
			matches = matches && labels[k] == v
		}
		if matches {
			port, err = containerPort(d, port)
			return s.Name, d.Name, port, err
		}
	}
	return "", "", port, fmt.Errorf("no deployment matches the Service %s", ref.Name)
}

// containerPort resolves the name of a port. OLM creates a separate Service,
// for which a number is safer.
func containerPort(d appsv1.Deployment, port intstr.IntOrString) (intstr.IntOrString, error) {
	if port.Type == intstr.Int {
		return port, nil
	}
	for _, c := range d.Spec.Template.Spec.Containers {
		for _, p := range c.Ports {
			if p.Name == port.StrVal {
				return intstr.FromInt32(p.ContainerPort), nil
			}
		}
	}
	return port, fmt.Errorf("deployment %s does not have port %q", d.Name, port.StrVal)
}

func convert(o *unstructured.Unstructured, into any) error {
	return runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, into)
}

// relatedImages returns all images of the deployments: the images of containers
// and of variables whose names end in _IMAGE. Mirrors for disconnected clusters
// are created from this list.
func relatedImages(csv *v1alpha1.ClusterServiceVersion) ([]v1alpha1.RelatedImage, error) {
	byName := map[string]string{}
	for _, d := range csv.Spec.InstallStrategy.StrategySpec.DeploymentSpecs {
		for _, c := range d.Spec.Template.Spec.Containers {
			byName[c.Name] = c.Image
			for _, e := range c.Env {
				if name, ok := strings.CutSuffix(e.Name, "_IMAGE"); ok {
					byName[strings.ReplaceAll(strings.ToLower(name), "_", "-")] = e.Value
				}
			}
		}
	}
	if image := csv.Annotations["operators.openshift.io/must-gather-image"]; image != "" {
		byName["must-gather"] = image
	}
	var related []v1alpha1.RelatedImage
	for name, image := range byName {
		if image == "" {
			return nil, fmt.Errorf("image %s is empty", name)
		}
		related = append(related, v1alpha1.RelatedImage{Name: name, Image: image})
	}
	slices.SortFunc(related, func(a, b v1alpha1.RelatedImage) int { return strings.Compare(a.Name, b.Name) })
	return related, nil
}

func mustJSON(v any) string {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		panic(err)
	}
	return string(raw)
}
