// SPDX-License-Identifier: Apache-2.0

//go:build linux

package e2e

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// earlier is the commit whose operator is upgraded from: the first state of the
// API that had been complete for sidecar mode.
const earlier = "cd2e85f9"

// TestUpgrade installs the operator of an earlier commit from its own manifests,
// puts the sample's guest under traffic that does not stop, and replaces the
// operator by that of this checkout, then by the same under another version.
// No packet may be lost and nothing may start again.
func TestUpgrade(t *testing.T) {
	s := start(t)
	ctx := testContext(t, 15*time.Minute)
	head, err := s.HeadRelease(ctx, "head")
	if err != nil {
		t.Fatal(err)
	}
	next, err := s.HeadRelease(ctx, "next")
	if err != nil {
		t.Fatal(err)
	}
	releases := []scenario.Release{head, next}
	if s.Builder().HasCommit(ctx, earlier) {
		releases = slices.Insert(releases, 0, earlierRelease(t, s))
	} else {
		t.Run(earlier+" to head", func(t *testing.T) {
			t.Skipf("the history of this checkout does not reach back to %s: git fetch --unshallow", earlier)
		})
	}
	remove(ctx, t, s, head)
	if err := s.DeployRelease(ctx, releases[0]); err != nil {
		t.Fatal(err)
	}
	for _, m := range managers(ctx, t, s) {
		earlierPods[string(m.UID)] = true
	}
	pod, clients := sampleOf(t, s, releases[0])
	for i, to := range releases[1:] {
		t.Run(releases[i].Version+" to "+to.Version, func(t *testing.T) {
			upgrade(t, s, pod, clients, func() error { return s.DeployRelease(t.Context(), to) })
		})
	}
	packets(t, s, pod, clients)
	deployed = s // by another name of its images
}

// earlierRelease is the release of the commit earlier.
func earlierRelease(t *testing.T, s *scenario.Scenario) scenario.Release {
	t.Helper()
	ctx := testContext(t, 10*time.Minute)
	dir, err := s.Builder().Checkout(ctx, earlier)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	r, err := s.Release(ctx, dir, earlier)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("images of %s made and imported in %.1f s", earlier, time.Since(begin).Seconds())
	return r
}

// sampleOf applies the release's sample and waits until its guest answers.
func sampleOf(t *testing.T, s *scenario.Scenario, r scenario.Release) (*corev1.Pod, scenario.Clients) {
	t.Helper()
	ctx := testContext(t, 5*time.Minute)
	manifest, err := s.Manifest(ctx, r, "samples")
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ApplyManifest(ctx, manifest); err != nil {
		t.Fatal(err)
	}
	clients, err := s.MakeClients(ctx)
	if err != nil {
		t.Fatal(err)
	}
	pod, err := s.WaitReady(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.AwaitGuest(ctx, clients); err != nil {
		t.Fatal(err)
	}
	checkSkew(ctx, t, s, pod)
	return pod, clients
}

// settle is how long traffic is watched after the new operator has the lease, in
// which it would do what it finds to do.
const settle = 10 * time.Second

// upgrade changes the operator by way of change, with traffic all the while, and
// checks that no client was affected.
func upgrade(t *testing.T, s *scenario.Scenario, pod *corev1.Pod, clients scenario.Clients, change func() error) {
	t.Helper()
	ctx := testContext(t, 10*time.Minute)
	before, err := s.Snapshot(ctx, pod)
	if err != nil {
		t.Fatal(err)
	}
	watch := s.StartWatch(ctx, pod, clients)
	time.Sleep(2 * time.Second) // some traffic from before
	begin := time.Now()
	err = change()
	rollout := time.Since(begin)
	if err == nil {
		err = s.OperatorLeads(ctx)
	}
	leads := time.Since(begin)
	if err == nil {
		time.Sleep(settle)
		_, err = s.WaitReady(ctx)
	}
	seen, watchErr := watch.Stop()
	if err != nil {
		t.Fatal(err)
	}
	if watchErr != nil {
		t.Fatal(watchErr)
	}
	after, err := s.Snapshot(ctx, pod)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("the new operator was ready after %.1f s and led after %.1f s; traffic was watched for %.1f s",
		rollout.Seconds(), leads.Seconds(), time.Since(begin).Seconds())
	scenario.ReportWatch(t, seen)
	scenario.CompareSnapshots(t, before, after)
}
