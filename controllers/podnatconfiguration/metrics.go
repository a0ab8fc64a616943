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
		Help: "Times that rules which had been proven were found lost or changed, by reason.",
	}, []string{"reason"}))
	repairsDone = register(prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshvm_repairs_total",
		Help: "Times that rules were written again and read back after they were found lost or changed, by reason.",
	}, []string{"reason"}))
)

// A counter that first appears with a 1 has not increased, as Prometheus counts:
// all begin with 0.
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

// counted lets every event through and counts what statuses report: from the
// events, because a reconcile that sees an old object reports the same thing again.
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
