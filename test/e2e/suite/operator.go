// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"context"
	"errors"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// operatorState describes the operator in the cluster.
type operatorState int

const (
	// operatorUnknown is the state of a cluster of an earlier run.
	operatorUnknown operatorState = iota
	operatorAbsent
	// operatorDeployed is the operator of this checkout from config/default.
	operatorDeployed
)

// Operator deploys the operator of this checkout, unless it is deployed. On an
// existing cluster, it waits until the operator is ready.
func (t *T) Operator() {
	t.Helper()
	t.Suite.operators.Lock()
	defer t.Suite.operators.Unlock()
	if t.Suite.operatorIs(operatorDeployed) {
		return
	}
	ctx := t.Limit(5 * time.Minute)
	s := t.Scenario()
	if t.Suite.provider.local() {
		t.NoError(s.DeployOperator(ctx))
		t.NoError(s.FreeLease(ctx))
	} else {
		t.NoError(s.OperatorReady(ctx))
	}
	t.Suite.setOperator(operatorDeployed)
}

func (s *Suite) operatorIs(state operatorState) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.operator == state
}

func (s *Suite) setOperator(state operatorState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.operator = state
}

// WithoutOperator removes the operator and all machines, now and at the end of the
// test. The test deploys its own operator.
func (t *T) WithoutOperator() {
	t.Helper()
	if !t.Suite.operatorIs(operatorAbsent) {
		t.NoError(t.removeOperator(t.Limit(5 * time.Minute)))
	}
	t.Suite.setOperator(operatorUnknown)
	t.Cleanup(func() {
		ctx, cancel := t.CleanupLimit(5 * time.Minute)
		defer cancel()
		if err := t.removeOperator(ctx); err != nil {
			t.Errorf("remove the operator: %v", err)
		}
	})
}

func (t *T) removeOperator(ctx context.Context) error {
	s := t.Scenario()
	err := s.Remove(ctx, scenario.Release{Repo: s.Builder().Repo})
	t.Suite.mu.Lock()
	defer t.Suite.mu.Unlock()
	t.Suite.sample = nil
	if err == nil {
		t.Suite.operator = operatorAbsent
	}
	return err
}

// Managers returns the manager pods that are not being deleted.
func (t *T) Managers(ctx context.Context) []corev1.Pod {
	t.Helper()
	var list corev1.PodList
	err := t.Scenario().List(ctx, &list, client.InNamespace(scenario.OperatorNamespace), client.MatchingLabels{"app.kubernetes.io/component": "controller-manager"})
	running := slices.DeleteFunc(list.Items, func(p corev1.Pod) bool { return p.DeletionTimestamp != nil })
	if err != nil || len(running) == 0 {
		t.Fatalf("no manager pod exists (error: %v)", err)
	}
	return running
}

// IgnoreManagers excludes the calls of the current manager pods from the check of
// permissions, because they run another version or lose their permissions first.
func (t *T) IgnoreManagers(ctx context.Context) {
	t.Helper()
	pods := t.Managers(ctx)
	t.Suite.mu.Lock()
	defer t.Suite.mu.Unlock()
	for _, p := range pods {
		t.Suite.otherManagers[string(p.UID)] = true
	}
}

// fastElection makes a new manager lead within seconds after the previous one ended.
const fastElection = "leaderElection: {retryPeriodSeconds: 2}\n"

// Configure changes the configuration of the manager during the test, and waits
// until a manager with this configuration leads. fields are the fields of
// OperatorConfiguration in YAML.
func (t *T) Configure(ctx context.Context, fields string) {
	t.Helper()
	t.NoError(t.Suite.configure(ctx, fastElection+fields))
	t.NoError(t.Scenario().OperatorLeads(ctx))
}

// ResetConfiguration restores the default configuration at the end of the test.
func (t *T) ResetConfiguration() {
	t.Helper()
	t.Cleanup(func() {
		ctx, cancel := t.CleanupLimit(5 * time.Minute)
		defer cancel()
		if err := t.Suite.configure(ctx, ""); err != nil {
			t.Errorf("restore the configuration of the manager: %v", err)
		}
	})
}

// configure writes the configuration and replaces the manager, so that the
// configuration is in effect when the new manager leads.
func (s *Suite) configure(ctx context.Context, fields string) error {
	sc := s.Scenario()
	key := client.ObjectKey{Namespace: scenario.OperatorNamespace, Name: "meshvm-manager-config"}
	var m corev1.ConfigMap
	if err := sc.Get(ctx, key, &m); err != nil {
		return err
	}
	m.Data["config.yaml"] = "apiVersion: config.meshvm.io/v1alpha1\nkind: OperatorConfiguration\n" + fields
	if err := sc.Update(ctx, &m); err != nil {
		return err
	}
	key.Name = scenario.OperatorDeployment
	var d appsv1.Deployment
	if err := sc.Get(ctx, key, &d); err != nil {
		return err
	}
	before := d.DeepCopy()
	d.Spec.Template.Annotations["test.meshvm.io/configuration"] = fields
	if err := sc.Patch(ctx, &d, client.StrategicMergeFrom(before)); err != nil {
		return err
	}
	return sc.OperatorReady(ctx)
}

// PowerFailure stops the cluster without a warning, checks that nothing remains on
// the machine, and starts the cluster again.
func (t *T) PowerFailure(ctx context.Context) {
	t.Helper()
	s, err := t.Suite.provider.restart(ctx)
	if err != nil {
		t.Fatal(errors.Join(errors.New("restart the cluster"), err))
	}
	t.Suite.mu.Lock()
	defer t.Suite.mu.Unlock()
	t.Suite.scenario, t.Suite.sample = s, nil
	t.Suite.operator = operatorUnknown
}
