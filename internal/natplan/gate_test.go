// SPDX-License-Identifier: Apache-2.0

package natplan_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/startgate"
)

func TestGateOfPods(t *testing.T) {
	vmi := b.VMI("web").Obj()
	started := func(name string) corev1.ContainerStatus {
		return corev1.ContainerStatus{Name: name, State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}
	}
	lost := b.LauncherPod(vmi, "lost").IP("10.244.0.8").Gate(false).Obj()
	lost.Status.ContainerStatuses = []corev1.ContainerStatus{started("compute")}
	fresh := b.LauncherPod(vmi, "fresh").IP("10.244.0.8").Gate(false).Obj()
	fresh.Status.InitContainerStatuses = nil
	for name, tc := range map[string]struct {
		pod        *corev1.Pod
		has, holds bool
	}{
		"no gate":                         {b.LauncherPod(vmi, "bare").IP("10.244.0.8").Obj(), false, false},
		"a pod without a status":          {fresh, true, true},
		"shut":                            {b.LauncherPod(vmi, "shut").IP("10.244.0.8").Gate(false).Obj(), true, true},
		"open":                            {b.LauncherPod(vmi, "open").IP("10.244.0.8").Gate(true).Obj(), true, false},
		"shut again while the guest runs": {lost, true, false},
	} {
		t.Run(name, func(t *testing.T) {
			if has, holds := startgate.HasGate(tc.pod), startgate.Blocks(tc.pod); has != tc.has || holds != tc.holds {
				t.Errorf("has a gate: %t, blocks: %t; want %t, %t", has, holds, tc.has, tc.holds)
			}
			spec, err := natplan.ConfigurationSpec(b.MVM("web").Obj(), natplan.Facts{Pod: tc.pod, VMI: vmi})
			if err != nil {
				t.Fatal(err)
			}
			plan, err := natplan.Plan(spec, []string{"10.244.0.8"})
			if err != nil {
				t.Fatal(err)
			}
			want := ruleio.Gate{Port: 15901, AnswerPort: 15902} // The port numbers never change.
			if (plan.Gate != nil) != tc.has || tc.has && *plan.Gate != want {
				t.Errorf("the plan's gate is %+v", plan.Gate)
			}
		})
	}
}

// TestInterfaceBeforeVMIStatus uses a pod whose guest is delayed, so that
// KubeVirt has not reported its interfaces yet.
func TestInterfaceBeforeVMIStatus(t *testing.T) {
	for name, tc := range map[string]struct {
		vmi        *b.VMIBuilder
		annotation string
		want       string
	}{
		"Multus reports it":  {b.VMI("web"), `[{"name":"x","interface":"net1"},{"name":"ovn","interface":"ovn-udn1","default":true}]`, "ovn-udn1"},
		"the VMI reports it": {b.VMI("web").PodInterface("default", "ens3"), `[{"interface":"eth9","default":true}]`, "ens3"},
		"nothing reports it": {b.VMI("web"), `[{"name":"x"}]`, "eth0"},
		"nonsense":           {b.VMI("web"), `{`, "eth0"},
	} {
		t.Run(name, func(t *testing.T) {
			vmi := tc.vmi.Obj()
			pod := b.LauncherPod(vmi, "a").IP("10.244.0.8").Obj()
			pod.Annotations = map[string]string{"k8s.v1.cni.cncf.io/network-status": tc.annotation}
			spec, err := natplan.ConfigurationSpec(b.MVM("web").Obj(), natplan.Facts{Pod: pod, VMI: vmi})
			if err != nil {
				t.Fatal(err)
			}
			if want := (v1alpha1.PodInterfaces{Pod: tc.want, Bridge: "k6t-" + tc.want}); spec.Interfaces != want {
				t.Errorf("got %+v, want %+v", spec.Interfaces, want)
			}
		})
	}
}

// TestGateOfWatchedPod checks that a pod with only the watch container gets the
// gate rule, which the container requires.
func TestGateOfWatchedPod(t *testing.T) {
	vmi := b.VMI("web").Obj()
	pod := b.LauncherPod(vmi, "abcde").IP("10.244.1.5").Obj()
	pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: startgate.WatchContainer})
	got, err := natplan.ConfigurationSpec(b.MVM("web").Obj(), natplan.Facts{Pod: pod, VMI: vmi})
	if err != nil || got.Gate.Port == 0 || startgate.Blocks(pod) {
		t.Errorf("gate %+v, %v", got.Gate, err)
	}
}
