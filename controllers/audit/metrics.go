// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulejob"
)

var (
	audits = register(prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "meshvm_audits_total",
		Help: "Number of finished audit Jobs, by result: Clean, Drifted, Incomplete (a pod could not be read), Failed.",
	}, []string{"result"}))
	duration = register(prometheus.NewHistogram(prometheus.HistogramOpts{
		Name:    "meshvm_audit_duration_seconds",
		Help:    "Time from the creation of an audit Job until its rule-writer finished.",
		Buckets: []float64{0.5, 1, 2, 5, 10, 30, 60, 120},
	}))
)

// Every counter starts at 0: Prometheus computes no increase for a counter whose
// first sample is 1.
func init() {
	for _, result := range []string{"Clean", "Drifted", "Incomplete", "Failed"} {
		audits.WithLabelValues(result)
	}
}

func register[C prometheus.Collector](c C) C {
	metrics.Registry.MustRegister(c)
	return c
}

// observe counts an audit whose Job was deleted.
func observe(job *batchv1.Job, a rulejob.Audit) {
	audits.WithLabelValues(resultOf(a)).Inc()
	if len(a.Results) > 0 && !a.FinishedAt.IsZero() {
		duration.Observe(max(a.FinishedAt.Sub(job.CreationTimestamp.Time).Seconds(), 0))
	}
}

// resultOf returns the most severe result of an audit.
func resultOf(a rulejob.Audit) string {
	has := func(outcomes ...ruleio.Outcome) bool {
		return slices.ContainsFunc(a.Results, func(r rulejob.AuditResult) bool { return slices.Contains(outcomes, r.Target.Outcome) })
	}
	switch {
	case len(a.Results) == 0:
		return "Failed"
	case has(ruleio.OutcomeDrifted, ruleio.OutcomeIdentityMismatch):
		return "Drifted"
	case slices.ContainsFunc(a.Results, func(r rulejob.AuditResult) bool { return r.Target.Outcome != ruleio.OutcomeVerified }):
		return "Incomplete"
	default:
		return "Clean"
	}
}
