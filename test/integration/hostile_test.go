// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// relabel changes the labels of a pod, as a user with the role "edit" may.
func (s *suite) relabel(pod *corev1.Pod, change func(map[string]string)) {
	s.Helper()
	before := &corev1.Pod{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(pod), before); err != nil {
		s.Fatal(err)
	}
	after := before.DeepCopy()
	change(after.Labels)
	if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
}

// TestRemovedPodLabels removes each label by which KubeVirt, the Service and the mesh
// policy select a virt-launcher pod. The pod is still found, its rules stay, and a
// condition contains the command that restores the label.
func TestRemovedPodLabels(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	for _, label := range []string{v1alpha1.LabelMeshedVirtualMachine, v1alpha1.LabelService, kubevirtv1.CreatedByLabel, kubevirtv1.AppLabel} {
		value := pod.Labels[label]
		if value == "" {
			t.Fatalf("the pod has no label %s", label)
		}
		for name, change := range map[string]func(map[string]string){
			"removed": func(l map[string]string) { delete(l, label) },
			"changed": func(l map[string]string) { l[label] = "other" },
		} {
			t.Run(label+" "+name, func(t *testing.T) {
				s.relabel(pod, change)
				got := s.awaitMVM(o.Name,
					want{v1alpha1.ConditionMeshPolicyEffective, no, v1alpha1.ReasonPodLabelsChanged},
					want{v1alpha1.ConditionReady, no, ""})
				command := fmt.Sprintf("kubectl -n %s label --overwrite pod %s %s=%s", s.namespace, pod.Name, label, value)
				if c := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionMeshPolicyEffective)); !strings.Contains(c.Message, command) {
					t.Errorf("the message does not contain %q: %s", command, c.Message)
				}
				s.quiet()
				live := &v1alpha1.PodNATConfiguration{}
				if err := s.Get(s.Context(), client.ObjectKeyFromObject(nat), live); err != nil || live.UID != nat.UID || !live.DeletionTimestamp.IsZero() {
					t.Errorf("the PodNATConfiguration was deleted: %v", err)
				}
				if n := len(s.jobs(nat.UID)); n != 0 {
					t.Errorf("%d Jobs run for a changed label", n)
				}
				s.relabel(pod, func(l map[string]string) { l[label] = value })
				s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
			})
		}
	}
}

// forge creates a pod that imitates a virt-launcher pod of the guest.
func (s *suite) forge(vmi *kubevirtv1.VirtualMachineInstance, change func(*corev1.Pod)) *corev1.Pod {
	s.Helper()
	labels := map[string]string{kubevirtv1.AppLabel: "virt-launcher", kubevirtv1.CreatedByLabel: string(vmi.UID)}
	maps.Copy(labels, vmi.Labels)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, GenerateName: "forged-", Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(vmi, kubevirtv1.VirtualMachineInstanceGroupVersionKind)},
		},
		Spec: corev1.PodSpec{NodeName: "node-a", Containers: []corev1.Container{{Name: "compute", Image: "x"}, {Name: "istio-proxy", Image: "x"}}},
	}
	change(pod)
	if err := s.Create(s.Context(), pod); err != nil {
		s.Fatal(err)
	}
	s.podIs(pod, func(st *corev1.PodStatus) {
		st.Phase = corev1.PodRunning
		st.PodIP, st.PodIPs = "10.244.0.7", []corev1.PodIP{{IP: "10.244.0.7"}} // the address of the guest's pod
		st.Conditions = []corev1.PodCondition{{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()}}
	})
	return pod
}

// TestForgedLauncherPods creates pods that imitate virt-launcher pods, as a
// user with the role "edit" can. No Job may run for a pod that KubeVirt did not
// create.
func TestForgedLauncherPods(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	vmi := &kubevirtv1.VirtualMachineInstance{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*corev1.Pod){
		"labels only": func(p *corev1.Pod) { p.OwnerReferences = nil },
		"an owner that is not the controller": func(p *corev1.Pod) {
			p.OwnerReferences[0].Controller = nil
		},
		"a VirtualMachineInstance with another UID": func(p *corev1.Pod) {
			p.OwnerReferences[0].UID = "0b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11"
		},
		"a VirtualMachineInstance of another API group": func(p *corev1.Pod) {
			p.OwnerReferences[0].APIVersion = "example.com/v1"
		},
		"the host's network": func(p *corev1.Pod) { p.Spec.HostNetwork = true },
	} {
		t.Run(name, func(t *testing.T) {
			s.calls.reset(nil)
			forged := s.forge(vmi, change)
			s.quiet()
			var nats v1alpha1.PodNATConfigurationList
			if err := s.List(s.Context(), &nats, client.InNamespace(s.namespace)); err != nil {
				t.Fatal(err)
			}
			for i := range nats.Items {
				if nats.Items[i].Spec.Pod.UID == forged.UID {
					t.Errorf("the forged pod has the PodNATConfiguration %s", nats.Items[i].Name)
				}
			}
			if err := s.natsAre(pod); err != nil {
				t.Error(err)
			}
			s.end(forged)
		})
	}
}

// TestFloodOfForgedPods checks that more pods than the status can list do not
// prevent the operator from writing the status.
func TestFloodOfForgedPods(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	vmi := &kubevirtv1.VirtualMachineInstance{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	var forged []*corev1.Pod
	for range 40 {
		forged = append(forged, s.forge(vmi, func(*corev1.Pod) {}))
	}
	// Each condition must be of this generation.
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Capture.Outbound.ExcludeCIDRs = []string{"10.96.0.0/16"}
	})
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, no, ""}, want{v1alpha1.ConditionNATProgrammed, no, ""})
	s.eventually("the status lists 32 pods and omits 9", func() error {
		if st := s.mvm(o.Name).Status; len(st.Pods) != 32 || st.OmittedPods != 9 {
			return fmt.Errorf("it lists %d and omits %d", len(st.Pods), st.OmittedPods)
		}
		return nil
	})
	for _, p := range forged {
		if err := s.Delete(s.Context(), p, client.GracePeriodSeconds(0)); err != nil {
			t.Fatal(err)
		}
	}
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
}

// TestClaimsOfTheTenant writes arbitrary statuses of the VirtualMachine, its
// instance and the pod, as a user with permissions on these subresources can.
// They must not change the rules or the conditions about the rules.
func TestClaimsOfTheTenant(t *testing.T) {
	s := start(t)
	o := s.web()
	if err := s.Create(s.Context(), o); err != nil {
		t.Fatal(err)
	}
	vmi, pod := s.startGuest(o.Name, "node-a")
	nat := s.awaitNAT(pod)
	s.podIs(pod, func(st *corev1.PodStatus) {
		for _, claim := range []string{"Programmed", "meshvm.io/Programmed", string(v1alpha1.ConditionNATProgrammed)} {
			st.Conditions = append(st.Conditions, corev1.PodCondition{Type: corev1.PodConditionType(claim), Status: corev1.ConditionTrue})
		}
	})
	before := vmi.DeepCopy()
	vmi.Status.MigrationState = &kubevirtv1.VirtualMachineInstanceMigrationState{TargetPod: pod.Name, SourcePod: "none"}
	if err := s.Patch(s.Context(), vmi, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
	hostile := "\x1b[2J\x00\u202e{{ .Env.TOKEN }} $(reboot)\n" + strings.Repeat("A", 300_000)
	s.vmIs(o.Name, func(st *kubevirtv1.VirtualMachineStatus) {
		st.Conditions = append(st.Conditions, kubevirtv1.VirtualMachineCondition{
			Type: kubevirtv1.VirtualMachineRestartRequired, Status: corev1.ConditionTrue, Message: hostile,
		})
	})
	s.quiet()
	got := s.awaitMVM(o.Name,
		want{v1alpha1.ConditionReady, no, ""},
		want{v1alpha1.ConditionNATProgrammed, no, v1alpha1.ReasonProgramming},
		want{v1alpha1.ConditionRestartRequired, yes, v1alpha1.ReasonRestartRequired})
	message := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionRestartRequired)).Message
	if n := len([]rune(message)); n > 1024 || strings.ContainsAny(message, "\x1b\x00\n\u202e") {
		t.Errorf("the message has %d characters or control characters: %.80q", n, message)
	}
	if got.Status.MTLS.EffectiveMode != v1alpha1.MTLSModeDisable {
		t.Errorf("effectiveMode is %s without verified rules", got.Status.MTLS.EffectiveMode)
	}
	s.runWriter(nat.UID, ruleio.OperationApply, ruleio.OutcomeApplied)
	s.awaitMVM(o.Name, want{v1alpha1.ConditionNATProgrammed, yes, v1alpha1.ReasonProgrammed})
}

// TestInterfaceClaimedByTheTenant writes an invalid name of the pod's interface
// into the instance's status. The name must not reach the rule-writer.
func TestInterfaceClaimedByTheTenant(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	vmi := &kubevirtv1.VirtualMachineInstance{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(o), vmi); err != nil {
		t.Fatal(err)
	}
	for _, claim := range []string{`eth0" accept; flush ruleset; #`, "../../etc", strings.Repeat("e", 16), "eth0\n", "eth 0"} {
		before := vmi.DeepCopy()
		vmi.Status.Interfaces[0].PodInterfaceName = claim
		if err := s.Patch(s.Context(), vmi, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
		s.touch(o)
		s.quiet()
		live := &v1alpha1.PodNATConfiguration{}
		if err := s.Get(s.Context(), client.ObjectKeyFromObject(nat), live); err != nil {
			t.Fatal(err)
		}
		if live.Spec.Interfaces != nat.Spec.Interfaces {
			t.Errorf("%q reached the PodNATConfiguration: %+v", claim, live.Spec.Interfaces)
		}
		if n := len(s.jobs(nat.UID)); n != 0 {
			t.Errorf("%q: %d Jobs", claim, n)
		}
	}
}

// touch makes the operator reconcile.
func (s *suite) touch(o *v1alpha1.MeshedVirtualMachine) {
	s.Helper()
	before := s.mvm(o.Name)
	after := before.DeepCopy()
	metav1.SetMetaDataAnnotation(&after.ObjectMeta, "test.meshvm.io/touch", before.ResourceVersion)
	if err := s.Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
}

// TestForgedPodNATConfiguration creates objects that refer to foreign pods, as
// an administrator of the namespace can.
func TestForgedPodNATConfiguration(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	nat := s.awaitNAT(pod)
	victim := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "database"},
		Spec:       corev1.PodSpec{NodeName: "node-a", Containers: []corev1.Container{{Name: "db", Image: "x"}, {Name: "istio-proxy", Image: "x"}}},
	}
	if err := s.Create(s.Context(), victim); err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]v1alpha1.PodTarget{
		"a pod that is not a virt-launcher pod": {Name: victim.Name, UID: victim.UID},
		"another UID":                           {Name: pod.Name, UID: victim.UID},
		"a pod of another namespace":            {Name: "kube-apiserver", UID: "0b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11"},
	} {
		t.Run(name, func(t *testing.T) {
			forged := &v1alpha1.PodNATConfiguration{
				ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, GenerateName: "forged-"},
				Spec:       *nat.Spec.DeepCopy(),
			}
			forged.Spec.Pod = target
			if err := s.Create(s.Context(), forged); err != nil {
				t.Fatal(err)
			}
			s.eventually("it is not Ready", func() error {
				if err := s.Get(s.Context(), client.ObjectKeyFromObject(forged), forged); err != nil {
					return err
				}
				if c := meta.FindStatusCondition(forged.Status.Conditions, string(v1alpha1.ConditionReady)); c == nil || c.Status != no || c.ObservedGeneration == 0 {
					return errors.New("not reconciled yet")
				}
				return nil
			})
			s.quiet()
			if n := len(s.jobs(forged.UID)); n != 0 {
				t.Errorf("%d Jobs run", n)
			}
		})
	}
}
