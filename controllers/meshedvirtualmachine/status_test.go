// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	securityv1beta1 "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/validate"
)

// world returns a scope in which the observed state matches the spec.
func world(mods ...func(*scope)) *scope {
	mvm := builders.MVM("web").Ports(builders.HTTP("http", 80, 8080), builders.Direct("ssh", 22)).Obj()
	vmi := builders.VMI("web").Node("node-a").Obj()
	pod := builders.LauncherPod(vmi, "abcde").Node("node-a").Obj()
	s := &scope{
		dependenciesKnown: true,
		mvm:               mvm, before: mvm.DeepCopy(), vmi: vmi, pods: []corev1.Pod{*pod}, podsKnown: true, strays: []*unstructured.Unstructured{},
		children: map[apply.Key]*unstructured.Unstructured{}, failures: map[apply.Key]error{},
		vm: &kubevirtv1.VirtualMachine{Spec: kubevirtv1.VirtualMachineSpec{RunStrategy: new(kubevirtv1.RunStrategyAlways)}, Status: kubevirtv1.VirtualMachineStatus{
			PrintableStatus: kubevirtv1.VirtualMachineStatusRunning,
			Conditions:      []kubevirtv1.VirtualMachineCondition{{Type: kubevirtv1.VirtualMachineReady, Status: corev1.ConditionTrue}},
		}},
		nats: map[types.UID]v1alpha1.PodNATConfiguration{pod.UID: nat(pod.UID, metav1.ConditionTrue, v1alpha1.ReasonReady, 1)},
	}
	for _, kind := range children.Kinds() {
		if kind.GroupVersionKind == children.PodNATConfigurationKind {
			continue // The test replaces the PodNATConfiguration in s.nats.
		}
		u := &unstructured.Unstructured{}
		u.SetGroupVersionKind(kind.GroupVersionKind)
		u.SetName("web")
		s.children[key(kind.GroupVersionKind)] = u
	}
	own := peerAuthentication("web", time.Minute, securityv1beta1.PeerAuthentication_MutualTLS_STRICT)
	own.OwnerReferences = []metav1.OwnerReference{{UID: mvm.UID, Controller: new(true)}}
	s.policies = []*securityv1.PeerAuthentication{own}
	for _, m := range mods {
		m(s)
	}
	s.describePods()
	return s
}

func key(kind schema.GroupVersionKind) apply.Key {
	return apply.Key{Kind: kind.GroupKind(), Name: "web"}
}

func nat(uid types.UID, status metav1.ConditionStatus, reason v1alpha1.ConditionReason, observed int64) v1alpha1.PodNATConfiguration {
	c := v1alpha1.PodNATConfiguration{ObjectMeta: metav1.ObjectMeta{Generation: 1}}
	c.Spec.Pod.UID = uid
	c.Spec.Inbound.Mesh = []int32{8080}
	for _, t := range []v1alpha1.ConditionType{v1alpha1.ConditionReady, v1alpha1.ConditionProgrammed} {
		c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{
			Type: string(t), Status: status, Reason: string(reason), Message: "from the configuration", ObservedGeneration: observed,
		})
	}
	return c
}

func fails(kind schema.GroupVersionKind, err error) func(*scope) {
	return func(s *scope) { s.failures[key(kind)] = err }
}

func setNAT(status metav1.ConditionStatus, reason v1alpha1.ConditionReason, observed int64) func(*scope) {
	return func(s *scope) { s.nats[s.pods[0].UID] = nat(s.pods[0].UID, status, reason, observed) }
}

// stoppedWith makes KubeVirt report a guest without a VirtualMachineInstance as
// stopped.
func stoppedWith(strategy kubevirtv1.VirtualMachineRunStrategy) func(*scope) {
	return func(s *scope) {
		s.vm.Spec.RunStrategy = &strategy
		s.vm.Status = kubevirtv1.VirtualMachineStatus{PrintableStatus: kubevirtv1.VirtualMachineStatusStopped}
		s.vmi, s.pods = nil, nil
	}
}

func vmCondition(t kubevirtv1.VirtualMachineConditionType) func(*scope) {
	return func(s *scope) {
		s.vm.Status.Conditions = append(s.vm.Status.Conditions, kubevirtv1.VirtualMachineCondition{Type: t, Status: corev1.ConditionTrue})
	}
}

// linkIs returns a spec whose interface on the pod network has a state.
func linkIs(state kubevirtv1.InterfaceState) kubevirtv1.VirtualMachineInstanceSpec {
	spec := kubevirtv1.VirtualMachineInstanceSpec{Networks: []kubevirtv1.Network{*kubevirtv1.DefaultPodNetwork()}}
	spec.Domain.Devices.Interfaces = []kubevirtv1.Interface{*kubevirtv1.DefaultMasqueradeNetworkInterface()}
	spec.Domain.Devices.Interfaces[0].State = state
	return spec
}

func TestConditions(t *testing.T) {
	conflict := fmt.Errorf("Service shop/web exists and %w", apply.ErrConflict)
	refusal := apierrors.NewInvalid(schema.GroupKind{Kind: "Service"}, "web", nil)
	tests := map[string]struct {
		scope *scope
		want  []string
	}{
		"observed state matches the spec": {world(), []string{"Ready=True/Ready", "NATProgrammed=True/Programmed", "VirtualMachineReady=True/Running"}},
		"rejected spec": {
			world(func(s *scope) { s.invalid = &validate.Invalid{Reason: v1alpha1.ReasonBridgeBinding} }),
			[]string{"Accepted=False/BridgeBinding", "ServiceReady=Unknown/Pending", "VirtualMachineReady=True/Running", "Ready=False/BridgeBinding", "Stalled=True/BridgeBinding"},
		},
		"KubeVirt missing": {
			world(func(s *scope) {
				s.missing = &dependency{project: children.UpstreamKubeVirt, crd: "virtualmachines.kubevirt.io"}
				nothingRead(s)
			}),
			[]string{
				"DependenciesAvailable=False/KubeVirtMissing", "ServiceReady=Unknown/Pending", "MeshPolicyApplied=Unknown/Pending",
				"NATProgrammed=Unknown/Pending", "Ready=False/KubeVirtMissing", "Stalled=True/KubeVirtMissing",
			},
		},
		"an API server that does not respond": {
			world(func(s *scope) { s.dependenciesKnown = false }),
			[]string{"DependenciesAvailable=Unknown/Pending", "Ready=False/Pending", "Reconciling=True/Progressing"},
		},
		"a guest that waits for the mesh policy": {
			world(fails(children.PeerAuthenticationKind, errors.New("webhook does not respond")), func(s *scope) { s.vmBlocked, s.vm, s.vmi, s.pods = true, nil, nil, nil }),
			[]string{"MeshPolicyApplied=False/ApplyFailed", "VirtualMachineReady=False/NotCreated"},
		},
		"paused, with an edit": {
			world(fails(children.PeerAuthenticationKind, fmt.Errorf("x %w", apply.ErrDiffers)), func(s *scope) { s.paused = true }),
			[]string{"MeshPolicyApplied=False/OutOfDate", "Ready=False/OutOfDate", "-Reconciling", "-Stalled"},
		},
		"a foreign Service": {
			world(fails(children.ServiceKind, conflict)),
			[]string{"ServiceReady=False/Conflict", "Conflicted=True/Conflict", "Ready=False/Conflict", "Stalled=True/Conflict"},
		},
		"a rejected VirtualService": {
			world(fails(children.VirtualServiceKind, refusal)),
			[]string{"MeshPolicyApplied=False/InvalidSpec", "Stalled=True/InvalidSpec"},
		},
		"the API server is busy": {
			world(fails(children.DestinationRuleKind, errors.New("too many requests"))),
			[]string{"MeshPolicyApplied=False/ApplyFailed", "Reconciling=True/Progressing"},
		},
		"rules in progress": {
			world(setNAT(metav1.ConditionFalse, v1alpha1.ReasonProgramming, 1)),
			[]string{"NATProgrammed=False/Programming", "Ready=False/Programming", "Reconciling=True/Progressing"},
		},
		"rules of an older spec": {
			world(setNAT(metav1.ConditionTrue, v1alpha1.ReasonReady, 0)),
			[]string{"NATProgrammed=False/Programming"},
		},
		"an unsupported kernel": {
			world(func(s *scope) {
				c := nat(s.pods[0].UID, metav1.ConditionFalse, v1alpha1.ReasonKernelUnsupported, 1)
				c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{Type: "Stalled", Status: metav1.ConditionTrue, ObservedGeneration: 1})
				s.nats[s.pods[0].UID] = c
			}),
			[]string{"NATProgrammed=False/KernelUnsupported", "Stalled=True/KernelUnsupported"},
		},
		"configuration of a deleted pod": {
			world(fails(children.DestinationRuleKind, errors.New("too many requests")), func(s *scope) {
				c := nat("gone", metav1.ConditionFalse, v1alpha1.ReasonKernelUnsupported, 1)
				c.Status.Conditions = append(c.Status.Conditions, metav1.Condition{Type: "Stalled", Status: metav1.ConditionTrue, ObservedGeneration: 1})
				s.nats["gone"] = c
			}),
			[]string{"Reconciling=True/Progressing", "-Stalled"},
		},
		"a second pod without rules": {
			world(func(s *scope) {
				s.pods = append(s.pods, *builders.LauncherPod(s.vmi, "fghij").UID("other").Node("node-b").Obj())
			}),
			[]string{"NATProgrammed=False/Programming"},
		},
		"stopped on purpose": {
			world(stoppedWith(kubevirtv1.RunStrategyHalted)),
			[]string{"VirtualMachineReady=True/Stopped", "NATProgrammed=True/NoPod", "Ready=True/Stopped", "-Reconciling", "-Stalled"},
		},
		"stopped, and KubeVirt starts it": {
			world(stoppedWith(kubevirtv1.RunStrategyAlways)),
			[]string{"VirtualMachineReady=False/Starting", "NATProgrammed=False/NoPod", "Ready=False/Starting", "Reconciling=True/Progressing"},
		},
		"stopped on purpose, with a foreign Service": {
			world(stoppedWith(kubevirtv1.RunStrategyHalted), fails(children.ServiceKind, conflict)),
			[]string{"VirtualMachineReady=True/Stopped", "NATProgrammed=True/NoPod", "Ready=False/Conflict", "Stalled=True/Conflict"},
		},
		"to be stopped, and still running": {
			world(func(s *scope) { s.vm.Spec.RunStrategy = new(kubevirtv1.RunStrategyHalted) }),
			[]string{"VirtualMachineReady=False/Stopping", "Ready=False/Stopping", "Reconciling=True/Progressing"},
		},
		"a guest that failed and is not started again": {
			world(stoppedWith(kubevirtv1.RunStrategyOnce), func(s *scope) {
				s.vmi = builders.VMI("web").Phase(kubevirtv1.Failed).Obj()
			}),
			[]string{"VirtualMachineReady=False/GuestFailed", "NATProgrammed=False/NoPod", "Ready=False/GuestFailed", "Stalled=True/GuestFailed"},
		},
		"paused while it is still reported as ready": {
			world(vmCondition(kubevirtv1.VirtualMachinePaused)),
			[]string{"VirtualMachineReady=False/Paused", "-Reconciling"},
		},
		"link down": {
			world(func(s *scope) {
				s.vm.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{Spec: linkIs(kubevirtv1.InterfaceStateLinkDown)}
			}),
			[]string{"VirtualMachineReady=False/LinkDown", "Ready=False/LinkDown", "-Reconciling", "-Stalled"},
		},
		"link down in the running guest": {
			world(func(s *scope) {
				s.vm.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{Spec: linkIs("")}
				s.vmi.Spec = linkIs(kubevirtv1.InterfaceStateLinkDown)
			}),
			[]string{"VirtualMachineReady=False/LinkDown", "Ready=False/LinkDown", "-Reconciling", "-Stalled"},
		},
		"link up": {
			world(func(s *scope) {
				s.vm.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{Spec: linkIs(kubevirtv1.InterfaceStateLinkUp)}
				s.vmi.Spec = linkIs(kubevirtv1.InterfaceStateLinkUp)
			}),
			[]string{"VirtualMachineReady=True/Running", "Ready=True/Ready"},
		},
		"no ports": {
			world(func(s *scope) {
				s.mvm.Spec.Ports = nil
				for _, k := range []schema.GroupVersionKind{children.ServiceKind, children.DestinationRuleKind, children.VirtualServiceKind} {
					delete(s.children, key(k))
				}
			}),
			[]string{"ServiceReady=True/Applied", "MeshPolicyApplied=True/Applied", "Ready=True/Ready"},
		},
		"restart required": {
			world(vmCondition(kubevirtv1.VirtualMachineRestartRequired)),
			[]string{"Ready=True/Ready", "RestartRequired=True/RestartRequired"},
		},
		"a version that differs from the running pod": {
			world(func(s *scope) {
				s.mvm.Spec.Version = "v2"
				s.vm.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{}
				s.vm.Spec.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelVersion: "v2"}
			}),
			[]string{"Ready=True/Ready", "RestartRequired=True/RestartRequired"},
		},
		"another value of the pause annotation": {
			world(func(s *scope) { s.mvm.Annotations = map[string]string{v1alpha1.AnnotationPaused: "yes"} }),
			[]string{"Paused=False/AnnotationIgnored", "Ready=True/Ready"},
		},
		"pause annotation false": {
			world(func(s *scope) { s.mvm.Annotations = map[string]string{v1alpha1.AnnotationPaused: "false"} }),
			[]string{"-Paused", "Ready=True/Ready"},
		},
		"operator paused": {
			world(func(s *scope) {
				s.paused, s.mvm.Annotations = true, map[string]string{v1alpha1.AnnotationPaused: "true"}
			}),
			[]string{"Paused=True/Paused", "Ready=True/Ready"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := map[string]string{}
			for _, c := range tc.scope.conditions() {
				if _, twice := got[string(c.Type)]; twice {
					t.Errorf("%s occurs twice", c.Type)
				}
				got[string(c.Type)] = fmt.Sprintf("%s=%s/%s", c.Type, c.Status, c.Reason)
			}
			for _, always := range []string{"Ready", "Accepted", "DependenciesAvailable", "VirtualMachineReady", "ServiceReady", "MeshPolicyApplied", "MeshPolicyEffective", "NATProgrammed"} {
				if got[always] == "" {
					t.Errorf("%s is missing", always)
				}
			}
			for _, w := range tc.want {
				if w[0] == '-' {
					if got[w[1:]] != "" {
						t.Errorf("%s is present", got[w[1:]])
					}
					continue
				}
				if !slices.Contains(slices.Collect(values(got)), w) {
					t.Errorf("%s is missing in %v", w, got)
				}
			}
		})
	}
}

// TestPausedMessages checks that the messages about changes that a paused
// operator does not make start with the reason, and that no other messages do.
func TestPausedMessages(t *testing.T) {
	differs := fails(children.PeerAuthenticationKind, fmt.Errorf("x %w", apply.ErrDiffers))
	refused := func(s *scope) { s.invalid = &validate.Invalid{Reason: v1alpha1.ReasonBridgeBinding} }
	for name, tc := range map[string]struct {
		scope  *scope
		paused bool
		about  v1alpha1.ConditionType
		want   bool
	}{
		"an edit":             {world(differs), true, v1alpha1.ConditionMeshPolicyApplied, true},
		"an edit, not paused": {world(differs), false, v1alpha1.ConditionMeshPolicyApplied, false},
		"lost rules":          {world(setNAT(metav1.ConditionFalse, v1alpha1.ReasonDrifted, 1)), true, v1alpha1.ConditionNATProgrammed, true},
		"a rejected spec":     {world(refused), true, v1alpha1.ConditionAccepted, false},
		"an applied object":   {world(differs), true, v1alpha1.ConditionServiceReady, false},
		"the summary":         {world(differs), true, v1alpha1.ConditionReady, true},
	} {
		t.Run(name, func(t *testing.T) {
			tc.scope.paused = tc.paused
			for _, c := range tc.scope.conditions() {
				if got := strings.Contains(c.Message, "remove it to resume"); c.Type == tc.about && got != tc.want {
					t.Errorf("%s: %q", c.Type, c.Message)
				}
			}
		})
	}
}

func values(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for _, v := range m {
			if !yield(v) {
				return
			}
		}
	}
}

func TestRoleOfPods(t *testing.T) {
	vmi := builders.VMI("web").Node("node-a").Obj()
	a := builders.LauncherPod(vmi, "a").UID("a").Node("node-a").Obj()
	b := builders.LauncherPod(vmi, "b").UID("b").Node("node-b").Obj()
	tests := map[string]struct {
		pods      []corev1.Pod
		migration *kubevirtv1.VirtualMachineInstanceMigrationState
		want      []v1alpha1.PodRole
	}{
		"one":                            {[]corev1.Pod{*a}, nil, []v1alpha1.PodRole{v1alpha1.PodRoleActive}},
		"a target that was just created": {[]corev1.Pod{*a, *b}, nil, []v1alpha1.PodRole{v1alpha1.PodRoleActive, v1alpha1.PodRoleMigrationTarget}},
		"a migration in progress":        {[]corev1.Pod{*a, *b}, &kubevirtv1.VirtualMachineInstanceMigrationState{SourcePod: a.Name, TargetPod: b.Name}, []v1alpha1.PodRole{v1alpha1.PodRoleMigrationSource, v1alpha1.PodRoleMigrationTarget}},
		"a migration that ended":         {[]corev1.Pod{*a, *b}, &kubevirtv1.VirtualMachineInstanceMigrationState{SourcePod: b.Name, TargetPod: a.Name, Completed: true}, []v1alpha1.PodRole{v1alpha1.PodRoleActive, v1alpha1.PodRoleMigrationSource}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			vmi := vmi.DeepCopy()
			vmi.Status.MigrationState = tc.migration
			mvm := builders.MVM("web").Obj()
			s := &scope{mvm: mvm, before: mvm, vmi: vmi, pods: tc.pods, podsKnown: true}
			s.describePods()
			var got []v1alpha1.PodRole
			for _, g := range s.guestPods {
				got = append(got, g.role)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
