// SPDX-License-Identifier: Apache-2.0

//go:build linux

package install

import (
	"slices"
	"time"

	"meshvm.io/meshvm/internal/requirement"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// earlier is the commit of the first operator of the upgrade: the last commit that
// renamed or removed a field of the API. Before the first release, fields are renamed
// without a conversion, so objects of older commits lose these fields.
const earlier = "ea2e0b8"

// settle is the time for which traffic is observed after the new operator has the
// lease. Within that time it performs its pending writes.
const settle = 10 * time.Second

// upgrade installs the operator of an earlier commit from its own manifests and
// creates the sample. While clients send requests without pause, it replaces the
// operator by that of this checkout, and then by the same operator with another
// version. No packet may be lost, and nothing may be restarted.
func upgrade(t *suite.T) {
	ctx := t.Limit(15 * time.Minute)
	t.WithoutOperator()
	base := t.Scenario()
	head, err := base.HeadRelease(ctx, "head")
	t.NoError(err)
	next, err := base.HeadRelease(ctx, "next")
	t.NoError(err)
	releases := []scenario.Release{head, next}
	if base.Builder().HasCommit(ctx, earlier) {
		releases = slices.Insert(releases, 0, earlierRelease(t, base))
	} else {
		t.Step(earlier+" to head", func(t *suite.T) {
			requirement.Cluster.Unmet(t, "the history of this checkout does not contain %s: git fetch --unshallow", earlier)
		})
	}
	s := t.Namespace("upgrade")
	t.NoError(base.DeployRelease(ctx, releases[0]))
	t.IgnoreManagers(ctx)
	sample := sampleOf(t, s, releases[0])
	for i, to := range releases[1:] {
		t.Step(releases[i].Version+" to "+to.Version, func(t *suite.T) { replaceOperator(t, sample, to) })
	}
	t.CheckPackets(sample)
}

// earlierRelease builds the release of the commit earlier.
func earlierRelease(t *suite.T, s *scenario.Scenario) scenario.Release {
	t.Helper()
	ctx := t.Limit(10 * time.Minute)
	dir, err := s.Builder().Checkout(ctx, earlier)
	t.NoError(err)
	begin := time.Now()
	r, err := s.Release(ctx, dir, earlier)
	t.NoError(err)
	t.Logf("images of %s built and imported in %.1f s", earlier, time.Since(begin).Seconds())
	return r
}

// sampleOf applies the sample of a release and waits until its guest answers.
func sampleOf(t *suite.T, s *scenario.Scenario, r scenario.Release) *suite.Sample {
	t.Helper()
	ctx := t.Limit(5 * time.Minute)
	t.NoError(s.ApplySampleOf(ctx, r))
	clients, err := s.MakeClients(ctx)
	t.NoError(err)
	pod, err := s.WaitReady(ctx)
	t.NoError(err)
	t.NoError(s.AwaitGuest(ctx, clients))
	t.CheckSkew(ctx, s, pod)
	return &suite.Sample{Scenario: s, Pod: pod, Clients: clients}
}

// replaceOperator deploys another release while clients send requests, and checks
// that no request failed and the sample did not change.
func replaceOperator(t *suite.T, s *suite.Sample, to scenario.Release) {
	t.Helper()
	ctx := t.Limit(10 * time.Minute)
	before, err := s.Snapshot(ctx, s.Pod)
	t.NoError(err)
	watch := s.StartWatch(ctx, s.Pod, s.Clients)
	time.Sleep(2 * time.Second) // traffic before the change
	begin := time.Now()
	err = s.DeployRelease(ctx, to)
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
	t.NoError(err)
	t.NoError(watchErr)
	after, err := s.Snapshot(ctx, s.Pod)
	t.NoError(err)
	t.Logf("the new operator was ready after %.1f s and had the lease after %.1f s; traffic was observed for %.1f s",
		rollout.Seconds(), leads.Seconds(), time.Since(begin).Seconds())
	scenario.ReportWatch(t, seen)
	scenario.CompareSnapshots(t, before, after)
}
