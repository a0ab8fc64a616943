// SPDX-License-Identifier: Apache-2.0

// Package integration runs the operator with an API server, the CRDs of
// KubeVirt and Istio, and the Job and garbage collection controllers. It runs
// without nodes: the stand-ins in upstream_test.go simulate KubeVirt's
// controllers and kubelets. test/cluster runs the complete components.
package integration

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/rulejob"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"meshvm.io/meshvm/test/argocd"
	"meshvm.io/meshvm/test/testenv"
)

const (
	// operatorNamespace is the namespace of rule-writer Jobs.
	operatorNamespace = "meshvm-system"
	// waitTimeout is the time for which a test waits for the operator. It is long because
	// the packages are tested at the same time: a test that passes does not wait longer.
	waitTimeout = 2 * time.Minute
)

// namespaces is the number of namespaces that were created for tests.
var namespaces atomic.Int64

// shared is the API server of most tests. The default Service network has addresses for 254 Services.
var shared = testenv.Shared{Options: testenv.Options{
	KubeVirt: true, Istio: true, Controllers: testenv.DefaultControllers, ServiceNetworks: "10.0.0.0/16",
}}

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard())
	shared.Main(m)
}

// suite is one operator on one API server with a namespace for the test.
type suite struct {
	*testing.T
	client.Client
	namespace string
	calls     *recorder
	log       *logBuffer
	config    *rest.Config
	stop      func()
}

// start creates a namespace for the test and starts an operator on the shared
// API server.
func start(t *testing.T, changes ...func(*controllers.Options)) *suite {
	t.Helper()
	return startOn(t, shared.Get(t), changes...)
}

// startOn starts an operator. It stops at the end of the test, so that only one
// operator runs at a time.
func startOn(t *testing.T, env *testenv.Env, changes ...func(*controllers.Options)) *suite {
	t.Helper()
	s := &suite{T: t, Client: env.Client, calls: &recorder{}, log: &logBuffer{}}
	s.makeNamespace(operatorNamespace)
	s.namespace = fmt.Sprintf("test-%d", namespaces.Add(1))
	s.makeNamespace(s.namespace)
	s.config = rest.CopyConfig(env.Config)
	s.config.Wrap(s.calls.wrap)
	s.run(changes)
	t.Cleanup(func() {
		s.cleanUp()
		s.stop()
		s.checkLog()
	})
	return s
}

// run starts an operator. s.stop stops it.
func (s *suite) run(changes []func(*controllers.Options)) {
	s.Helper()
	// The operator continues after the end of the test's context, to clean up.
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	done := make(chan error, 1)
	log := zap.New(zap.UseDevMode(true), zap.JSONEncoder(), zap.WriteTo(s.log))
	mgr := newManager(ctx, s.T, s.config, log, changes)
	go func() { done <- mgr.Start(ctx) }()
	s.stop = func() {
		cancel()
		if err := <-done; err != nil {
			s.Errorf("the operator exited with: %v", err)
		}
	}
}

// restart stops the operator and starts another.
func (s *suite) restart(changes ...func(*controllers.Options)) {
	s.Helper()
	s.stop()
	s.run(changes)
}

// newManager returns a manager with all controllers.
func newManager(ctx context.Context, t *testing.T, cfg *rest.Config, log logr.Logger, changes []func(*controllers.Options)) manager.Manager {
	t.Helper()
	mgr := emptyManager(t, cfg, log)
	options := controllers.Options{
		Jobs:    rulejob.Config{Namespace: operatorNamespace, Image: "localhost/meshvm/rule-writer:dev", TracerImage: "localhost/meshvm/tracer:dev", ServiceAccount: "meshvm-rule-writer"},
		Workers: 2,
		Now:     time.Now,
	}
	for _, change := range changes {
		change(&options)
	}
	if err := controllers.Setup(ctx, mgr, options); err != nil {
		t.Fatal(err)
	}
	return mgr
}

// emptyManager returns a manager without controllers.
func emptyManager(t testing.TB, cfg *rest.Config, log logr.Logger) manager.Manager {
	t.Helper()
	skip := true
	mgr, err := ctrl.NewManager(cfg, manager.Options{
		Scheme:                 testenv.Scheme(),
		Logger:                 log,
		Cache:                  controllers.CacheOptions(operatorNamespace),
		Client:                 controllers.ClientOptions(),
		Metrics:                server.Options{BindAddress: "0"},
		HealthProbeBindAddress: "0",
		// One process runs several operators sequentially.
		Controller: config.Controller{SkipNameValidation: &skip},
	})
	if err != nil {
		t.Fatal(err)
	}
	return mgr
}

func (s *suite) makeNamespace(name string) {
	s.Helper()
	err := s.Create(s.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
	if client.IgnoreAlreadyExists(err) != nil {
		s.Fatal(err)
	}
}

// cleanUp deletes the objects of the test while the operator is running.
// Otherwise, objects with a finalizer would not be deleted.
func (s *suite) cleanUp() {
	ctx := context.WithoutCancel(s.Context())
	for _, o := range []client.Object{&v1alpha1.ConnectionTrace{}, &v1alpha1.MeshedVirtualMachine{}, &corev1.Pod{}, &v1alpha1.PodNATConfiguration{}} {
		if err := s.DeleteAllOf(ctx, o, client.InNamespace(s.namespace), client.GracePeriodSeconds(0)); err != nil && !meta.IsNoMatchError(err) {
			s.Errorf("clean up: %v", err)
		}
	}
	if s.Failed() {
		return
	}
	s.eventually("the PodNATConfigurations are deleted", func() error {
		var list v1alpha1.PodNATConfigurationList
		if err := s.List(ctx, &list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		if len(list.Items) > 0 {
			return fmt.Errorf("%d remain, the first with finalizers %v", len(list.Items), list.Items[0].Finalizers)
		}
		return nil
	})
}

// eventually waits until check returns nil.
func (s *suite) eventually(what string, check func() error) {
	s.Helper()
	deadline := time.Now().Add(waitTimeout)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			s.Fatalf("waited %s until %s: %v", waitTimeout, what, err)
		}
		time.Sleep(20 * time.Millisecond) // The API server is another process.
	}
}

// mvm reads a MeshedVirtualMachine.
func (s *suite) mvm(name string) *v1alpha1.MeshedVirtualMachine {
	s.Helper()
	var o v1alpha1.MeshedVirtualMachine
	if err := s.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, &o); err != nil {
		s.Fatal(err)
	}
	return &o
}

// want is the expected value of a condition.
type want struct {
	t      v1alpha1.ConditionType
	status metav1.ConditionStatus
	reason v1alpha1.ConditionReason
}

// check compares the conditions with the expected values, at the generation of
// the object.
func (w want) check(all []metav1.Condition, generation int64) error {
	c := meta.FindStatusCondition(all, string(w.t))
	switch {
	case c == nil:
		return fmt.Errorf("condition %s not found", w.t)
	case c.ObservedGeneration != generation:
		return fmt.Errorf("%s has generation %d, want %d", w.t, c.ObservedGeneration, generation)
	case c.Status != w.status || (w.reason != "" && c.Reason != string(w.reason)):
		return fmt.Errorf("%s is %s/%s (%s), want %s/%s", w.t, c.Status, c.Reason, c.Message, w.status, w.reason)
	}
	return nil
}

// awaitMVM waits until a MeshedVirtualMachine has the conditions, and compares
// them with the result of kstatus.
func (s *suite) awaitMVM(name string, wants ...want) *v1alpha1.MeshedVirtualMachine {
	s.Helper()
	var o *v1alpha1.MeshedVirtualMachine
	s.eventually("MeshedVirtualMachine "+name+" has the conditions", func() error {
		o = s.mvm(name)
		var errs []error
		for _, w := range wants {
			errs = append(errs, w.check(o.Status.Conditions, o.Generation))
		}
		return errors.Join(errs...)
	})
	s.kstatusAgrees(o)
	return o
}

// awaitNAT waits until the PodNATConfiguration of the pod has the conditions.
func (s *suite) awaitNAT(pod *corev1.Pod, wants ...want) *v1alpha1.PodNATConfiguration {
	s.Helper()
	var found *v1alpha1.PodNATConfiguration
	s.eventually("the PodNATConfiguration of pod "+pod.Name+" has the conditions", func() error {
		var list v1alpha1.PodNATConfigurationList
		if err := s.List(s.Context(), &list, client.InNamespace(s.namespace)); err != nil {
			return err
		}
		for i := range list.Items {
			if o := &list.Items[i]; o.Spec.Pod.UID == pod.UID {
				found = o
				var errs []error
				for _, w := range wants {
					errs = append(errs, w.check(o.Status.Conditions, o.Generation))
				}
				return errors.Join(errs...)
			}
		}
		return errors.New("not found")
	})
	if len(wants) > 0 {
		s.kstatusAgrees(found)
	}
	return found
}

// kstatusAgrees compares Ready with the result of Flux and kpt.
func (s *suite) kstatusAgrees(o client.Object) {
	s.Helper()
	u := &unstructured.Unstructured{Object: s.content(o)}
	gvk, err := s.GroupVersionKindFor(o)
	if err != nil {
		s.Fatal(err)
	}
	u.SetGroupVersionKind(gvk)
	result, err := status.Compute(u)
	if err != nil {
		s.Fatal(err)
	}
	var conditions []metav1.Condition
	switch o := o.(type) {
	case *v1alpha1.MeshedVirtualMachine:
		conditions = o.Status.Conditions
	case *v1alpha1.PodNATConfiguration:
		conditions = o.Status.Conditions
	}
	expected := status.InProgressStatus
	switch {
	case !o.GetDeletionTimestamp().IsZero():
		expected = status.TerminatingStatus
	case meta.IsStatusConditionTrue(conditions, string(v1alpha1.ConditionStalled)):
		expected = status.FailedStatus
	case meta.IsStatusConditionTrue(conditions, string(v1alpha1.ConditionReady)):
		expected = status.CurrentStatus
	}
	if result.Status != expected {
		s.Errorf("kstatus of %s %s is %s (%s), want %s", gvk.Kind, o.GetName(), result.Status, result.Message, expected)
	}
	if gvk.Kind == "MeshedVirtualMachine" {
		s.argoCDAgrees(u, result.Status)
	}
	if os.Getenv("MESHVM_VERBOSE") != "" {
		s.Logf("kstatus: %s %s is %s", gvk.Kind, o.GetName(), result.Status)
	}
}

// argoCDAgrees compares the health in Argo CD with the result of kstatus.
func (s *suite) argoCDAgrees(o *unstructured.Unstructured, kstatus status.Status) {
	s.Helper()
	health, message, err := argocd.Health(o)
	if err != nil {
		s.Fatal(err)
	}
	want := map[status.Status][]string{
		status.CurrentStatus:     {"Healthy", "Suspended"},
		status.InProgressStatus:  {"Progressing", "Suspended"},
		status.FailedStatus:      {"Degraded"},
		status.TerminatingStatus: {"Progressing"},
	}[kstatus]
	if !slices.Contains(want, health) {
		s.Errorf("the health of %s in Argo CD is %s (%s), and kstatus is %s", o.GetName(), health, message, kstatus)
	}
}
