// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	configv1alpha1 "meshvm.io/meshvm/api/config/v1alpha1"
	"meshvm.io/meshvm/internal/operatorconfig"
)

// leaseName is the name of the manager's lease.
const leaseName = "manager.meshvm.io"

// lease is the lock of the leader election. A manager that begins to stop while it
// acquires the lease cancels the request. If the API server has already stored it,
// client-go does not know that it holds the lease and does not release it
// (tools/leaderelection, Run), and no manager leads for the whole lease duration.
// Therefore the requests are not canceled: the election then knows their result and
// releases the lease. The renew deadline still ends them, so that two managers never
// lead at the same time.
type lease struct{ resourcelock.Interface }

// Create implements resourcelock.Interface.
func (l lease) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	ctx, cancel := onlyDeadline(ctx)
	defer cancel()
	return l.Interface.Create(ctx, r)
}

// Update implements resourcelock.Interface.
func (l lease) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	ctx, cancel := onlyDeadline(ctx)
	defer cancel()
	return l.Interface.Update(ctx, r)
}

// onlyDeadline returns a context that ends at the deadline of another context, and not
// when that one is canceled.
func onlyDeadline(ctx context.Context) (context.Context, context.CancelFunc) {
	detached := context.WithoutCancel(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		return context.WithDeadline(detached, deadline)
	}
	return context.WithCancel(detached)
}

// electionEvents records events of the leader election with the manager's recorder.
type electionEvents struct{ mgr manager.Manager }

// Eventf implements resourcelock.EventRecorder.
func (e *electionEvents) Eventf(o runtime.Object, kind, reason, message string, args ...any) {
	//nolint:staticcheck // The election of client-go records events of the core API.
	e.mgr.GetEventRecorderFor("leader-election").Eventf(o, kind, reason, message, args...)
}

// addElection adds the lock of the leader election to the options. The returned recorder
// needs the manager before the manager starts.
func (p *program) addElection(cfg *rest.Config, o *manager.Options) (*electionEvents, error) {
	recorder := &electionEvents{}
	if p.config.LeaderElection.Mode != configv1alpha1.Enabled {
		return recorder, nil
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("get the name of the host for the leader election: %w", err)
	}
	lock, err := resourcelock.NewFromKubeconfig(resourcelock.LeasesResourceLock, p.namespace, leaseName,
		resourcelock.ResourceLockConfig{Identity: host + "_" + string(uuid.NewUUID()), EventRecorder: recorder},
		cfg, operatorconfig.Seconds(p.config.LeaderElection.RenewDeadlineSeconds))
	if err != nil {
		return nil, fmt.Errorf("create the lock of the leader election: %w", err)
	}
	o.LeaderElectionResourceLockInterface = lease{lock}
	return recorder, nil
}
