// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/controllers"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/startgate"
	"meshvm.io/meshvm/internal/webhook"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"
	crwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/testenv"
)

// serveGate makes the API server call the webhook as configured in
// config/webhook, but at an address of this machine instead of a Service, until
// stop is called.
func (s *suite) serveGate() (stop func()) {
	s.Helper()
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "config/webhook/configuration.yaml"))
	if err != nil {
		s.Fatal(err)
	}
	var config admissionv1.MutatingWebhookConfiguration
	if err := yaml.UnmarshalStrict(text, &config); err != nil {
		s.Fatal(err)
	}
	config.Webhooks[0].ClientConfig, stop = s.serveWebhook(*config.Webhooks[0].ClientConfig.Service.Path, func(mgr manager.Manager) {
		webhook.Setup(s.Context(), mgr, startgate.Options{Image: "localhost/meshvm/rule-writer:dev"})
	})
	if err := s.Create(s.Context(), &config); err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() {
		if err := s.Delete(context.WithoutCancel(s.Context()), &config); err != nil {
			s.Error(err)
		}
		s.awaitNoWebhook()
	})
	s.eventually("the API server calls the webhook", func() error {
		gate, err := s.probeWebhook()
		if err == nil && !gate {
			err = errNotCalled
		}
		return err
	})
	return stop
}

// serveWebhook serves a webhook until stop is called. It returns the configuration of its
// client, with an address of this machine instead of a Service.
func (s *suite) serveWebhook(path string, setup func(manager.Manager)) (config admissionv1.WebhookClientConfig, stop func()) {
	s.Helper()
	port := freePort(s.T)
	issuer, dir := newIssuer(s.T), s.TempDir()
	mount(s.T, dir, "1", issuer, time.Hour)
	mgr, err := ctrl.NewManager(s.config, manager.Options{
		Scheme: testenv.Scheme(), Metrics: server.Options{BindAddress: "0"}, HealthProbeBindAddress: "0",
		WebhookServer: crwebhook.NewServer(crwebhook.Options{
			Host: "127.0.0.1", Port: port, CertDir: dir,
			// A connection that is kept alive would be used after the server
			// has stopped.
			TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
		}),
	})
	if err != nil {
		s.Fatal(err)
	}
	setup(mgr)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.Context()))
	done := make(chan error, 1)
	go func() { done <- mgr.Start(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			s.Errorf("webhook server: %v", err)
		}
	})
	s.Cleanup(stop)
	s.eventually("the webhook server has started", func() error { return mgr.GetWebhookServer().StartedChecker()(nil) })
	return admissionv1.WebhookClientConfig{URL: new(fmt.Sprintf("https://localhost:%d%s", port, path)), CABundle: issuer.pem()}, stop
}

// probeWebhook creates a pod that requests a gate, without storing it, and reports
// whether it has one. The API server reads configurations of webhooks from a cache.
func (s *suite) probeWebhook() (gate bool, err error) {
	pod := s.requestingPod(true)
	err = s.Create(context.WithoutCancel(s.Context()), pod, client.DryRunAll)
	return startgate.HasGate(pod), err
}

// requestingPod returns a virt-launcher pod that requests a gate, or does not.
func (s *suite) requestingPod(gate bool) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: "virt-launcher-", Labels: map[string]string{kubevirtv1.AppLabel: "virt-launcher"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "compute", Image: "x"}}},
	}
	if gate {
		p.Labels[v1alpha1.LabelStartGate] = v1alpha1.StartGateContainer
	}
	return p
}

// awaitNoWebhook waits until the API server does not call a deleted webhook any more, which
// would reject the pods of the next test.
func (s *suite) awaitNoWebhook() {
	s.Helper()
	s.eventually("the API server does not call the webhook", func() error {
		gate, err := s.probeWebhook()
		if err == nil && gate {
			err = errors.New("the pod has a gate")
		}
		return err
	})
}

// gateIs sets the state of the gate container that a kubelet would report, and
// the state of the guest's container accordingly.
func (s *suite) gateIs(pod *corev1.Pod, open bool) {
	s.Helper()
	s.podIs(pod, func(st *corev1.PodStatus) {
		status := corev1.ContainerStatus{Name: startgate.Container, Image: "x", ImageID: "x"}
		if open {
			status.State.Terminated = &corev1.ContainerStateTerminated{}
		}
		st.InitContainerStatuses = []corev1.ContainerStatus{status}
		st.Phase = corev1.PodPending
		if open {
			st.Phase = corev1.PodRunning
		}
	})
}

// podStatus returns the status of a pod by its UID, because the order of pods
// that were created in the same second is not defined.
func podStatus(o *v1alpha1.MeshedVirtualMachine, pod *corev1.Pod) v1alpha1.PodStatus {
	for _, p := range o.Status.Pods {
		if p.UID == pod.UID {
			return p
		}
	}
	return v1alpha1.PodStatus{}
}

// awaitStart waits until the status contains the start state of a pod.
func (s *suite) awaitStart(name string, pod *corev1.Pod, want v1alpha1.PodStart) {
	s.Helper()
	s.eventually(fmt.Sprintf("start of pod %s is %s", pod.Name, want), func() error {
		if got := podStatus(s.mvm(name), pod).Start; got != want {
			return fmt.Errorf("it is %q", got)
		}
		return nil
	})
}

// TestGate makes the API server call the webhook for pods like those that
// KubeVirt creates for a start and for a migration.
func TestGate(t *testing.T) {
	s := start(t)
	stop := s.serveGate()
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	vmi, pod := s.startGuest(o.Name, "node-a")
	if !startgate.HasGate(pod) {
		t.Fatalf("the pod was created without a gate: %+v", pod.Spec.InitContainers)
	}
	s.gateIs(pod, false)

	// The rules are programmed while the pod is Pending.
	nat := s.awaitNAT(pod, want{v1alpha1.ConditionTargetResolved, yes, v1alpha1.ReasonResolved})
	s.awaitMVM(o.Name,
		want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonStarting},
		want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonProgramming})
	s.awaitStart(o.Name, pod, v1alpha1.PodStartHeld)
	if g := s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied).Targets[0].Plan.Gate; g == nil || g.Port != ruleio.GatePort {
		t.Errorf("the plan's gate is %+v", g)
	}
	s.gateIs(pod, true)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitStart(o.Name, pod, v1alpha1.PodStartReleased)

	// During a migration the object remains ready while its target waits.
	target := s.launcher(vmi, "node-b")
	s.node("node-b", corev1.ConditionTrue)
	s.gateIs(target, false)
	targetNAT := s.awaitNAT(target)
	s.eventually("the status contains the target with start Held", func() error {
		m := s.mvm(o.Name)
		if got := podStatus(m, target); got.Start != v1alpha1.PodStartHeld || got.Role != v1alpha1.PodRoleMigrationTarget {
			return fmt.Errorf("pods %+v", m.Status.Pods)
		}
		return nil
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.runWriter(targetNAT.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.gateIs(target, true)
	s.podIs(pod, func(st *corev1.PodStatus) { st.Phase = corev1.PodSucceeded })
	s.eventually("the source's PodNATConfiguration is deleted with its pod", func() error {
		return gone(s.Get(s.Context(), client.ObjectKeyFromObject(nat), nat))
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})

	// The webhook fails closed, and other pods are not affected.
	stop()
	refused := target.DeepCopy()
	refused.UID, refused.ResourceVersion, refused.Name = "", "", ""
	if err := s.Create(s.Context(), refused, client.DryRunAll); err == nil || !strings.Contains(err.Error(), "gate.meshvm.io") {
		t.Errorf("a pod was created without the webhook: %v", err)
	}
	delete(refused.Labels, v1alpha1.LabelStartGate)
	if err := s.Create(s.Context(), refused, client.DryRunAll); err != nil {
		t.Errorf("a pod without the label was rejected: %v", err)
	}
}

func gone(err error) error {
	if err == nil {
		return errors.New("it exists")
	}
	return client.IgnoreNotFound(err)
}

// released records the guests that the operator unpauses, instead of calling
// KubeVirt's API.
type released struct {
	mu     sync.Mutex
	guests []types.NamespacedName
}

func (r *released) Unpause(_ context.Context, guest types.NamespacedName) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.guests = append(r.guests, guest)
	return nil
}

func (r *released) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.guests)
}

// TestImmediateMonitorsRules checks that the guest is not delayed, and that its pod
// is not ready before its rules are verified.
func TestImmediateMonitorsRules(t *testing.T) {
	s := start(t)
	s.serveGate()
	o := s.web()
	o.Spec.Start = v1alpha1.StartPolicyImmediate
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	_, pod := s.startGuest(o.Name, "node-a")
	if startgate.HasGate(pod) || !startgate.HasWatch(pod) || pod.Spec.InitContainers[0].ReadinessProbe == nil || pod.Spec.InitContainers[0].StartupProbe != nil {
		t.Fatalf("the pod was created with the init containers %+v", pod.Spec.InitContainers)
	}
	nat := s.awaitNAT(pod)
	if nat.Spec.Gate.Port == 0 {
		t.Error("the rules do not contain the gate that the container requires")
	}
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed})
	s.awaitStart(o.Name, pod, v1alpha1.PodStartNotHeld)
}

// TestStartPaused runs without a webhook.
func TestStartPaused(t *testing.T) {
	guests := &released{}
	pause := func(o *controllers.Options) { o.StartGate, o.Unpauser = children.StartGatePause, guests }
	s := start(t, pause)
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	vmi, pod := s.startGuest(o.Name, "node-a")
	if !vmi.ShouldStartPaused() {
		t.Fatal("the guest would not start paused")
	}
	paused := func(yes corev1.ConditionStatus) {
		t.Helper()
		before := vmi.DeepCopy()
		vmi.Status.Conditions = []kubevirtv1.VirtualMachineInstanceCondition{{Type: kubevirtv1.VirtualMachineInstancePaused, Status: yes}}
		if err := s.Patch(s.Context(), vmi, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	paused(corev1.ConditionTrue)
	nat := s.awaitNAT(pod, want{v1alpha1.ConditionTargetResolved, yes, v1alpha1.ReasonResolved})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonStarting})
	if guests.count() != 0 {
		t.Fatal("the guest is running before its rules are verified")
	}
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.eventually("the guest is unpaused once", func() error {
		if n := guests.count(); n != 1 || podStatus(s.mvm(o.Name), pod).Start != v1alpha1.PodStartReleased {
			return fmt.Errorf("%d times, %+v", n, s.mvm(o.Name).Status.Pods)
		}
		return nil
	})
	paused(corev1.ConditionFalse)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})

	// A guest that is paused later remains paused, also by another operator.
	paused(corev1.ConditionTrue)
	s.quiet()
	s.restart(pause)
	s.quiet()
	if n := guests.count(); n != 1 {
		t.Errorf("the guest was unpaused %d times", n)
	}
}
