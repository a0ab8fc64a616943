// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// node creates a node with the given Ready condition, like a kubelet.
func (s *suite) node(name string, ready corev1.ConditionStatus) {
	s.Helper()
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := s.Create(s.Context(), n); client.IgnoreAlreadyExists(err) != nil {
		s.Fatal(err)
	}
	before := &corev1.Node{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(n), before); err != nil {
		s.Fatal(err)
	}
	after := before.DeepCopy()
	after.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: ready, LastHeartbeatTime: metav1.Now(), LastTransitionTime: metav1.Now()}}
	after.Status.NodeInfo.BootID = "first-boot"
	if err := s.Status().Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
}

// boot simulates a reboot of a node.
func (s *suite) boot(name, id string) {
	s.Helper()
	node := &corev1.Node{}
	if err := s.Get(s.Context(), client.ObjectKey{Name: name}, node); err != nil {
		s.Fatal(err)
	}
	before := node.DeepCopy()
	node.Status.NodeInfo.BootID = id
	if err := s.Status().Patch(s.Context(), node, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
}

// startGuest simulates KubeVirt's controllers and a kubelet for a
// VirtualMachine: an instance, a launcher pod with a sandbox, and status.
func (s *suite) startGuest(name, node string) (*kubevirtv1.VirtualMachineInstance, *corev1.Pod) {
	s.Helper()
	s.node(node, corev1.ConditionTrue)
	vm := s.awaitVM(name)
	vmi := &kubevirtv1.VirtualMachineInstance{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name,
			Labels: vm.Spec.Template.ObjectMeta.Labels, Annotations: vm.Spec.Template.ObjectMeta.Annotations,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(vm, kubevirtv1.VirtualMachineGroupVersionKind)},
		},
		Spec: vm.Spec.Template.Spec,
		Status: kubevirtv1.VirtualMachineInstanceStatus{
			Phase: kubevirtv1.Running, NodeName: node,
			Interfaces: []kubevirtv1.VirtualMachineInstanceNetworkInterface{{Name: "default", PodInterfaceName: "eth0"}},
		},
	}
	if err := s.Create(s.Context(), vmi); err != nil {
		s.Fatal(err)
	}
	s.vmIs(name, func(st *kubevirtv1.VirtualMachineStatus) {
		st.Created, st.Ready = true, true
		st.PrintableStatus = kubevirtv1.VirtualMachineStatusRunning
		st.Conditions = []kubevirtv1.VirtualMachineCondition{{Type: kubevirtv1.VirtualMachineReady, Status: corev1.ConditionTrue}}
	})
	return vmi, s.launcher(vmi, node)
}

// launcher creates another virt-launcher pod for a guest.
func (s *suite) launcher(vmi *kubevirtv1.VirtualMachineInstance, node string) *corev1.Pod {
	s.Helper()
	labels := map[string]string{}
	maps.Copy(labels, vmi.Labels)
	maps.Copy(labels, map[string]string{
		kubevirtv1.AppLabel: "virt-launcher", kubevirtv1.CreatedByLabel: string(vmi.UID),
		kubevirtv1.DeprecatedVirtualMachineNameLabel: vmi.Name, kubevirtv1.VirtualMachineInstanceIDLabel: vmi.Name,
	})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, GenerateName: "virt-launcher-" + vmi.Name + "-", Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(vmi, kubevirtv1.VirtualMachineInstanceGroupVersionKind)},
		},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{
			{Name: "compute", Image: "localhost/launcher"}, {Name: "istio-proxy", Image: "localhost/proxyv2"},
		}},
	}
	if err := s.Create(s.Context(), pod); err != nil {
		s.Fatal(err)
	}
	s.podIs(pod, func(st *corev1.PodStatus) {
		st.Phase = corev1.PodRunning
		st.PodIP, st.PodIPs = "10.244.0.7", []corev1.PodIP{{IP: "10.244.0.7"}}
		st.Conditions = []corev1.PodCondition{
			{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue, LastTransitionTime: metav1.Now()},
			{Type: corev1.PodReady, Status: corev1.ConditionTrue},
		}
	})
	return pod
}

func (s *suite) awaitVM(name string) *kubevirtv1.VirtualMachine {
	s.Helper()
	vm := &kubevirtv1.VirtualMachine{}
	s.eventually("VirtualMachine "+name+" exists", func() error {
		return s.Get(s.Context(), client.ObjectKey{Namespace: s.namespace, Name: name}, vm)
	})
	return vm
}

// vmIs writes the status of a VirtualMachine.
func (s *suite) vmIs(name string, change func(*kubevirtv1.VirtualMachineStatus)) {
	s.Helper()
	before := s.awaitVM(name)
	after := before.DeepCopy()
	change(&after.Status)
	if err := s.Status().Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
}

// podIs writes the status of a pod.
func (s *suite) podIs(pod *corev1.Pod, change func(*corev1.PodStatus)) {
	s.Helper()
	before := &corev1.Pod{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(pod), before); err != nil {
		s.Fatal(err)
	}
	after := before.DeepCopy()
	change(&after.Status)
	if err := s.Status().Patch(s.Context(), after, client.MergeFrom(before)); err != nil {
		s.Fatal(err)
	}
}

// writer waits for the pod of the rule-writer Job of a PodNATConfiguration and
// returns it with its request. The operator does not read the result of a pod whose Job it
// has deleted, and the garbage collector deletes such a pod later.
func (s *suite) writer(owner types.UID, op ruleio.Operation) (*corev1.Pod, ruleio.Request) {
	s.Helper()
	var found *corev1.Pod
	var request ruleio.Request
	s.eventually(fmt.Sprintf("a rule-writer pod exists for the operation %s", op), func() error {
		var pods corev1.PodList
		if err := s.List(s.Context(), &pods, client.InNamespace(operatorNamespace), client.MatchingLabels{v1alpha1.LabelPodNATConfiguration: string(owner)}); err != nil {
			return err
		}
		jobs := s.jobs(owner)
		for i := range pods.Items {
			p := &pods.Items[i]
			current := slices.ContainsFunc(jobs, func(j batchv1.Job) bool { return j.DeletionTimestamp.IsZero() && metav1.IsControlledBy(p, &j) })
			if p.Status.Phase != corev1.PodPending || !p.DeletionTimestamp.IsZero() || !current {
				continue
			}
			r, err := ruleio.DecodeRequest([]byte(p.Annotations[v1alpha1.AnnotationRuleRequest]))
			if err != nil {
				return err
			}
			if r.Targets[0].Operation == op {
				found, request = p, r
				return nil
			}
		}
		return errors.New("not found")
	})
	return found, request
}

// runWriter simulates the kubelet and the rule-writer of a node: the waiting
// rule-writer pod exits with the outcome. test/kernel and test/cluster run the
// rule-writer.
func (s *suite) runWriter(owner types.UID, op ruleio.Operation, outcome ruleio.Outcome) ruleio.Request {
	s.Helper()
	pod, request := s.writer(owner, op)
	digest, err := request.Digest()
	if err != nil {
		s.Fatal(err)
	}
	target := ruleio.TargetResult{PodUID: request.Targets[0].PodUID, Outcome: outcome, NetnsInode: 4026532000, DurationMicroseconds: 900}
	if outcome == ruleio.OutcomeApplied {
		target.TableDigest, target.Rules = ruleio.DigestOf([]byte(digest)), 9
	} else {
		target.Message = "stand-in: " + string(outcome)
	}
	s.endWriter(pod, ruleio.Result{Version: ruleio.ResultVersion, RequestDigest: digest, Targets: []ruleio.TargetResult{target}})
	return request
}

// endWriter makes the rule-writer's pod exit with the result.
func (s *suite) endWriter(pod *corev1.Pod, result ruleio.Result) {
	s.Helper()
	ended := pod.DeepCopy()
	if err := terminate(ended, result); err != nil {
		s.Fatal(err)
	}
	s.podIs(pod, func(st *corev1.PodStatus) { *st = ended.Status })
}

// terminate returns the status that a kubelet reports after the rule-writer has
// exited.
func terminate(pod *corev1.Pod, result ruleio.Result) error {
	message, err := result.Encode()
	if err != nil {
		return err
	}
	code := int32(result.ExitCode()) //nolint:gosec // An exit status.
	pod.Status.Phase = corev1.PodSucceeded
	if code != 0 {
		pod.Status.Phase = corev1.PodFailed
	}
	pod.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: pod.Spec.Containers[0].Name,
		State: corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: code, Message: string(message), FinishedAt: metav1.NewTime(time.Now()), StartedAt: metav1.NewTime(time.Now()),
		}},
	}}
	return nil
}

// jobs returns the rule-writer Jobs of a PodNATConfiguration.
func (s *suite) jobs(owner types.UID) []batchv1.Job {
	s.Helper()
	var jobs batchv1.JobList
	if err := s.List(s.Context(), &jobs, client.InNamespace(operatorNamespace), client.MatchingLabels{v1alpha1.LabelPodNATConfiguration: string(owner)}); err != nil {
		s.Fatal(err)
	}
	return jobs.Items
}
