// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"meshvm.io/meshvm/api/v1alpha1"
)

var (
	vmReady = prometheus.NewDesc("meshvm_meshedvirtualmachine_ready",
		"1 if the condition Ready of the MeshedVirtualMachine is True, else 0; with its reason.",
		[]string{"namespace", "name", "reason"}, nil)
	natProgrammed = prometheus.NewDesc("meshvm_podnatconfiguration_programmed",
		"1 if the condition Programmed of the PodNATConfiguration is True, else 0; with its reason.",
		[]string{"namespace", "name", "reason"}, nil)
)

// readiness reports what the statuses in the cache say, at the moment somebody
// asks. Only the manager that leads reports, or every object would be there
// once for each manager.
type readiness struct {
	client.Reader
	// elected is closed when this manager leads.
	elected <-chan struct{}
}

// registerReadiness has it read through the manager's cache, in place of a
// manager that was set up in this process before.
func registerReadiness(mgr ctrl.Manager) error {
	r := readiness{Reader: mgr.GetClient(), elected: mgr.Elected()}
	metrics.Registry.Unregister(r)
	return metrics.Registry.Register(r)
}

// Describe implements prometheus.Collector.
func (r readiness) Describe(descs chan<- *prometheus.Desc) {
	descs <- vmReady
	descs <- natProgrammed
}

// Collect implements prometheus.Collector.
func (r readiness) Collect(out chan<- prometheus.Metric) {
	select {
	case <-r.elected:
	default:
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	var vms v1alpha1.MeshedVirtualMachineList
	var nats v1alpha1.PodNATConfigurationList
	err := errors.Join(r.List(ctx, &vms, client.UnsafeDisableDeepCopy), r.List(ctx, &nats, client.UnsafeDisableDeepCopy))
	if err != nil { // All other metrics are worth having.
		ctrl.Log.Error(err, "The readiness of objects is left out of the metrics")
		return
	}
	for i := range vms.Items {
		vm := &vms.Items[i]
		out <- conditionMetric(vmReady, vm, vm.Status.Conditions, v1alpha1.ConditionReady)
	}
	for i := range nats.Items {
		nat := &nats.Items[i]
		target := meta.FindStatusCondition(nat.Status.Conditions, string(v1alpha1.ConditionTargetResolved))
		if target != nil && target.Reason == string(v1alpha1.ReasonPodNotFound) {
			// Kept to tell the rules, while a spec is refused: no guest is without any.
			continue
		}
		out <- conditionMetric(natProgrammed, nat, nat.Status.Conditions, v1alpha1.ConditionProgrammed)
	}
}

// conditionMetric is 1 if the condition is True. An object that was not looked
// at yet has the reason Pending.
func conditionMetric(desc *prometheus.Desc, o client.Object, conditions []metav1.Condition, name v1alpha1.ConditionType) prometheus.Metric {
	value, reason := 0.0, string(v1alpha1.ReasonPending)
	if c := meta.FindStatusCondition(conditions, string(name)); c != nil {
		reason = c.Reason
		if c.Status == metav1.ConditionTrue {
			value = 1
		}
	}
	return prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, o.GetNamespace(), o.GetName(), reason)
}
