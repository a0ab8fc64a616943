// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"meshvm.io/meshvm/api/v1alpha1"
)

// TestLastAccepted checks which rules a pod gets while the spec is not
// accepted.
func TestLastAccepted(t *testing.T) {
	add := func(pod types.UID, owner types.UID, age time.Duration) func(*scope) {
		return func(s *scope) {
			c := nat(pod, metav1.ConditionTrue, v1alpha1.ReasonReady, 1)
			c.CreationTimestamp = metav1.NewTime(time.Unix(1000, 0).Add(-age))
			c.OwnerReferences = []metav1.OwnerReference{{UID: owner, Controller: new(true)}}
			s.nats[pod] = c
		}
	}
	none := func(s *scope) { clear(s.nats) }
	mine := world().mvm.UID
	live := world().pods[0].UID
	for name, tc := range map[string]struct {
		mods []func(*scope)
		want types.UID
	}{
		"none":                               {[]func(*scope){none}, ""},
		"the live pod's":                     {[]func(*scope){none, add(live, mine, time.Hour), add("gone", mine, time.Minute)}, live},
		"the newest of deleted pods":         {[]func(*scope){none, add("gone", mine, time.Minute), add("older", mine, time.Hour)}, "gone"},
		"not another MeshedVirtualMachine's": {[]func(*scope){none, add("gone", "another", time.Minute)}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			var got types.UID
			if c := world(tc.mods...).lastAccepted(); c != nil {
				got = c.Spec.Pod.UID
			}
			if got != tc.want {
				t.Errorf("that of pod %q, want %q", got, tc.want)
			}
		})
	}
}
