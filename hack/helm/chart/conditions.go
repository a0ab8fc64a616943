// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// predicate is a condition of the chart's templates, and the overlays that it
// holds in, sorted.
type predicate struct {
	template string
	overlays []string
}

// Conditions of templates. The template meshvm.certificate is None where there is no
// webhook.
const (
	webhook      = `.Values.webhook.enabled`
	noWebhook    = `not .Values.webhook.enabled`
	selfManaged  = `eq (include "meshvm.certificate" .) "SelfManaged"`
	notOwn       = `ne (include "meshvm.certificate" .) "SelfManaged"`
	mounted      = `has (include "meshvm.certificate" .) (list "CertManager" "ServiceCA")`
	certManager  = `eq (include "meshvm.certificate" .) "CertManager"`
	serviceCA    = `eq (include "meshvm.certificate" .) "ServiceCA"`
	openshift    = `.Values.openshift.enabled`
	notOpenshift = `not .Values.openshift.enabled`
)

// predicates are tried in this order; one that says just what is to be said goes
// before one that does so among the overlays in question.
var predicates = []predicate{
	{notOpenshift, []string{"certmanager", "default", "no-webhook", "prometheus"}},
	{webhook, []string{"certmanager", "default", "openshift", "prometheus"}},
	{noWebhook, []string{"no-webhook"}},
	{selfManaged, []string{"default", "prometheus"}},
	{mounted, []string{"certmanager", "openshift"}},
	{notOwn, []string{"certmanager", "no-webhook", "openshift"}},
	{certManager, []string{"certmanager"}},
	{openshift, []string{"openshift"}},
}

// kinds are kinds of objects that have a value of their own.
var kinds = map[string]string{
	"CustomResourceDefinition": `.Values.crds.enabled`,
	"Namespace":                `.Values.namespace.enabled`,
	"NetworkPolicy":            `.Values.networkPolicy.enabled`,
	"PrometheusRule":           `.Values.monitoring.prometheusRule.enabled`,
	"ServiceMonitor":           `.Values.monitoring.serviceMonitor.enabled`,
}

// special says more of objects whose part in config/openshift is not about
// OpenShift as such.
var special = map[string]string{
	"Service/meshvm-webhook":                             serviceCA,
	"MutatingWebhookConfiguration/meshvm":                serviceCA,
	"Role/meshvm-prometheus":                             openshiftMonitoring,
	"RoleBinding/meshvm-prometheus":                      openshiftMonitoring,
	"ClusterRoleBinding/meshvm-metrics-reader-openshift": openshiftMonitoring,
}

// openshiftMonitoring is about the rights of OpenShift's own Prometheus.
const openshiftMonitoring = `and .Values.openshift.enabled .Values.monitoring.serviceMonitor.enabled`

// condition is the one that holds in the overlays of has among those of all,
// empty when has is all. key names the object that it is about.
func condition(key string, has, all []string) (string, error) {
	if len(has) == len(all) {
		return "", nil
	}
	if t, ok := special[key]; ok && slices.Equal(has, []string{"openshift"}) {
		return t, nil
	}
	for _, p := range predicates {
		if slices.Equal(p.overlays, has) {
			return p.template, nil
		}
	}
	for _, p := range predicates {
		within := slices.DeleteFunc(slices.Clone(all), func(o string) bool { return !slices.Contains(p.overlays, o) })
		if slices.Equal(within, has) {
			return p.template, nil
		}
	}
	return "", fmt.Errorf("%s: something is in %s alone of %s; no condition of the chart says that: add one to hack/helm/chart/conditions.go",
		key, strings.Join(has, ", "), strings.Join(all, ", "))
}

// ofObject is the condition under which the chart has an object.
func ofObject(key string, variants map[string]any) (string, error) {
	kind, _, _ := strings.Cut(key, "/")
	if t, ok := kinds[kind]; ok {
		return t, nil
	}
	return condition(key, sorted(variants), slices.Sorted(slices.Values(overlays)))
}

// sorted lists the overlays of variants.
func sorted(variants map[string]any) []string { return slices.Sorted(maps.Keys(variants)) }
