// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	networkingv1alpha3 "istio.io/api/networking/v1alpha3"

	"meshvm.io/meshvm/internal/builders"
)

// TestPatchStatusOfIstioTypes compares a spec with Istio's durations and
// messages, which have unexported fields. The test has no client, so it fails
// if an unchanged status is written.
func TestPatchStatusOfIstioTypes(t *testing.T) {
	mvm := builders.MVM("web").
		Retries("http", &networkingv1alpha3.HTTPRetry{Attempts: 3, PerTryTimeout: durationpb.New(time.Second)}).
		TrafficPolicy(&networkingv1alpha3.TrafficPolicy{OutlierDetection: &networkingv1alpha3.OutlierDetection{Interval: durationpb.New(time.Second)}}).
		Obj()
	if err := PatchStatus(t.Context(), nil, mvm, mvm.DeepCopy()); err != nil {
		t.Fatal(err)
	}
}
