// SPDX-License-Identifier: Apache-2.0

package rulewriter

import (
	"testing"

	"meshvm.io/meshvm/internal/ruleio"
)

// TestProxyIsReadByAuditsOnly checks that only an audit of a pod with a sidecar reads the
// proxy, whether or not the rules have drifted.
func TestProxyIsReadByAuditsOnly(t *testing.T) {
	ambient := func(t *ruleio.Target) {
		t.Operation, t.Plan.DataPlane = ruleio.OperationVerify, ruleio.DataPlaneAmbient
	}
	remove := func(t *ruleio.Target) { t.Operation, t.Plan = ruleio.OperationRemove, nil }
	for name, tc := range map[string]struct {
		change func(*ruleio.Target)
		want   bool
	}{
		"audit":            {toVerification, true},
		"audit in ambient": {ambient, false},
		"apply":            {func(*ruleio.Target) {}, false},
		"remove":           {remove, false},
	} {
		t.Run(name, func(t *testing.T) {
			d := (&node{}).deps()
			state := &ruleio.ProxyState{Kind: ruleio.ProxyEnvoy, Phase: ruleio.ProxyLive}
			d.Proxy = func(ruleio.NATPlan) *ruleio.ProxyState { return state }
			got := Run(t.Context(), d, encode(t, target(tc.change))).Targets[0]
			if (got.Proxy == state) != tc.want {
				t.Errorf("proxy %+v, outcome %s", got.Proxy, got.Outcome)
			}
		})
	}
}
