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
		"Whether the condition Ready of the MeshedVirtualMachine is True (1) or not (0), with the reason of the condition.",
		[]string{"namespace", "name", "reason"}, nil)
	natProgrammed = prometheus.NewDesc("meshvm_podnatconfiguration_programmed",
		"Whether the condition Programmed of the PodNATConfiguration is True (1) or not (0), with the reason of the condition.",
		[]string{"namespace", "name", "reason"}, nil)
)

// readiness collects metrics from the statuses in the cache at the time of a scrape.
// Only the leading manager reports them, so that every object is reported once.
type readiness struct {
	client.Reader
	// elected is closed when this manager leads.
	elected <-chan struct{}
}

// registerReadiness registers the collector with the manager's cache. It replaces
// the collector of an earlier manager in the same process.
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
	if err != nil { // The other metrics are still reported.
		ctrl.Log.Error(err, "Cannot report the readiness of objects in the metrics")
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
			// It stores the rules of the last accepted spec and does not belong to a
			// guest.
			continue
		}
		out <- conditionMetric(natProgrammed, nat, nat.Status.Conditions, v1alpha1.ConditionProgrammed)
	}
}

// conditionMetric returns a metric that is 1 if the condition is True. The
// reason of an object without the condition is Pending.
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
