// SPDX-License-Identifier: Apache-2.0

package podnatconfiguration

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"meshvm.io/meshvm/api/v1alpha1"
)

var (
	driftFound = register(prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshvm_drift_found_total",
		Help: "Number of times that verified rules were found missing or changed, by reason.",
	}, []string{"reason"}))
	repairsDone = register(prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshvm_repairs_total",
		Help: "Number of repairs of missing or changed rules that were verified by reading the rules back, by reason.",
	}, []string{"reason"}))
)

// Every counter starts at 0: Prometheus computes no increase for a counter
// whose first sample is 1.
func init() {
	for _, reason := range []v1alpha1.ConditionReason{v1alpha1.ReasonDrifted, v1alpha1.ReasonSandboxRecreated, v1alpha1.ReasonNodeRebooted} {
		driftFound.WithLabelValues(string(reason))
		repairsDone.WithLabelValues(string(reason))
	}
}

func register[C prometheus.Collector](c C) C {
	metrics.Registry.MustRegister(c)
	return c
}

// counted accepts every event and counts the drifts and repairs that the
// statuses report. It uses events because a reconcile of an outdated object
// would count the same drift again.
var counted = predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
	before, ok1 := e.ObjectOld.(*v1alpha1.PodNATConfiguration)
	after, ok2 := e.ObjectNew.(*v1alpha1.PodNATConfiguration)
	if ok1 && ok2 {
		observe(before.Status, after.Status)
	}
	return true
}}

func observe(old, now v1alpha1.PodNATConfigurationStatus) {
	if n := now.Repairs.Count - old.Repairs.Count; n > 0 {
		driftFound.WithLabelValues(string(now.Repairs.LastReason)).Add(float64(n))
	}
	if now.Applied.Repair > old.Applied.Repair {
		repairsDone.WithLabelValues(string(now.Repairs.LastReason)).Inc()
	}
}
