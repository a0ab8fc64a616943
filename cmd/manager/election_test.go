// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// slowLock is a lock in memory. Like an API server, it stores a record although the
// client cancels the request.
type slowLock struct {
	mu     sync.Mutex
	record *resourcelock.LeaderElectionRecord
	// stored is called after the first record was stored and before the client gets the
	// response.
	stored func()
}

func (l *slowLock) Get(context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.record == nil {
		return nil, nil, apierrors.NewNotFound(schema.GroupResource{Resource: "leases"}, leaseName)
	}
	record := *l.record
	return &record, []byte(record.HolderIdentity), nil
}

func (l *slowLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	l.set(r)
	l.stored()
	return ctx.Err()
}

func (l *slowLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	l.set(r)
	return ctx.Err()
}

func (l *slowLock) set(r resourcelock.LeaderElectionRecord) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.record = &r
}

func (*slowLock) RecordEvent(string) {}
func (*slowLock) Identity() string   { return "this" }
func (*slowLock) Describe() string   { return leaseName }

// TestLeaseOfStoppedManager stops a manager while the API server stores its lease. The
// lease must not remain held.
func TestLeaseOfStoppedManager(t *testing.T) {
	ctx, stop := context.WithCancel(t.Context())
	lock := &slowLock{stored: stop}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lease{lock}, LeaseDuration: time.Hour, RenewDeadline: time.Minute, RetryPeriod: time.Second, ReleaseOnCancel: true,
		Callbacks: leaderelection.LeaderCallbacks{OnStartedLeading: func(context.Context) {}, OnStoppedLeading: func() {}},
	})
	if err != nil {
		t.Fatal(err)
	}
	elector.Run(ctx)
	record, _, err := lock.Get(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if record.HolderIdentity != "" {
		t.Errorf("the lease is still held by %q", record.HolderIdentity)
	}
}
