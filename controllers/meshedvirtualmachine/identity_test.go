// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/internal/builders"
)

// TestAccounts: a service account is known for a limited time, in its namespace only, and
// the list contains no older ones.
func TestAccounts(t *testing.T) {
	var a accounts
	begin := builders.Epoch.Time
	db, other := client.ObjectKey{Namespace: "shop", Name: "db"}, client.ObjectKey{Namespace: "bank", Name: "db"}
	a.remember(db, begin)
	for after, want := range map[time.Duration]bool{0: true, accountValid - 1: true, accountValid: false} {
		if got := a.found(db, begin.Add(after)); got != want {
			t.Errorf("known after %s: %t", after, got)
		}
	}
	if a.found(other, begin) {
		t.Error("the service account of another namespace is known")
	}
	a.remember(other, begin.Add(accountValid))
	if len(a.read) != 1 {
		t.Errorf("service accounts %v, want one", a.read)
	}
}
