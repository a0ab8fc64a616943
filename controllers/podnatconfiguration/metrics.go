package podnatconfiguration

import (
	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"meshvm.io/meshvm/api/v1alpha1"
)

// The metrics are counted after the status was written, from what changed.
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

func register[C prometheus.Collector](c C) C {
	metrics.Registry.MustRegister(c)
	return c
}

// observe counts what a status patch reported.
func observe(before, after *v1alpha1.PodNATConfiguration) {
	old, now := before.Status, after.Status
	if n := now.Repairs.Count - old.Repairs.Count; n > 0 {
		driftFound.WithLabelValues(string(now.Repairs.LastReason)).Add(float64(n))
	}
	if now.Applied.Repair > old.Applied.Repair {
		repairsDone.WithLabelValues(string(now.Repairs.LastReason)).Inc()
	}
}
