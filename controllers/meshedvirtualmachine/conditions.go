// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/natplan"
	"meshvm.io/meshvm/internal/startgate"
)

// conditions states every condition of the object from the scope.
func (s *scope) conditions() []conditions.Condition {
	positive := []conditions.Condition{
		s.accepted(), s.dependenciesAvailable(), s.serviceReady(), s.meshPolicyApplied(),
		s.virtualMachineReady(), s.natProgrammed(),
	}
	if s.paused {
		tellPaused(positive)
	}
	all := conditions.Summarize(positive, s.outlook(positive))
	if names := s.conflicts(); len(names) > 0 {
		all = append(all, conditions.True(v1alpha1.ConditionConflicted, v1alpha1.ReasonConflict, strings.Join(names, "; ")))
	}
	if why := s.restartRequired(); why != "" {
		all = append(all, conditions.True(v1alpha1.ConditionRestartRequired, v1alpha1.ReasonRestartRequired, why))
	}
	if c, ok := s.startNotHeld(); ok {
		all = append(all, c)
	}
	if s.paused {
		all = append(all, conditions.True(v1alpha1.ConditionPaused, v1alpha1.ReasonPaused,
			"the annotation "+v1alpha1.AnnotationPaused+" keeps the operator from changing anything"))
	}
	return all
}

// tellPaused puts first, into the messages about what the operator would do if it
// were not paused, that it is.
func tellPaused(all []conditions.Condition) {
	waits := []v1alpha1.ConditionReason{
		v1alpha1.ReasonOutOfDate, v1alpha1.ReasonNotCreated, v1alpha1.ReasonProgramming, v1alpha1.ReasonDrifted,
	}
	for i := range all {
		if c := &all[i]; c.Status == metav1.ConditionFalse && slices.Contains(waits, c.Reason) {
			c.Message = "the annotation " + v1alpha1.AnnotationPaused + " keeps the operator from acting, remove it to go on: " + c.Message
		}
	}
}

// restartRequired says what the running guest has to be restarted for, empty for
// nothing. The labels of a pod are those of its start.
func (s *scope) restartRequired() string {
	for i := range s.pods {
		has, wants := s.pods[i].Labels[v1alpha1.LabelVersion], natplan.Version(s.mvm)
		if s.invalid == nil && has != "" && has != wants {
			return fmt.Sprintf("no route of the mesh leads to pod %s: its version is %s, and spec.version leads to %s; restart the machine, or set it back", s.pods[i].Name, has, wants)
		}
	}
	if c := s.vmCondition(kubevirtv1.VirtualMachineRestartRequired); c != nil && c.Status == corev1.ConditionTrue {
		return cmp.Or(c.Message, "KubeVirt waits for a restart of the guest")
	}
	return ""
}

// outlook says what is to be expected while the object is not ready.
func (s *scope) outlook(positive []conditions.Condition) conditions.Outlook {
	stuck := s.invalid != nil || s.missing != nil
	for _, err := range s.failures {
		stuck = stuck || errors.Is(err, apply.ErrConflict) || refused(err)
	}
	for i := range s.pods {
		c := s.nats[s.pods[i].UID]
		stuck = stuck || conditions.IsTrue(c.Status.Conditions, v1alpha1.ConditionStalled, c.Generation)
	}
	if stuck {
		return conditions.Stuck
	}
	vm, _ := conditions.Find(positive, v1alpha1.ConditionVirtualMachineReady)
	if s.paused || vm.Reason == v1alpha1.ReasonStopped || vm.Reason == v1alpha1.ReasonPaused {
		return conditions.Resting
	}
	return conditions.Moving
}

func (s *scope) accepted() conditions.Condition {
	if s.invalid != nil {
		return conditions.False(v1alpha1.ConditionAccepted, s.invalid.Reason, s.invalid.Error())
	}
	return conditions.True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "the spec can be carried out")
}

func (s *scope) dependenciesAvailable() conditions.Condition {
	if s.missing != nil {
		return conditions.False(v1alpha1.ConditionDependenciesAvailable, s.missing.reasonMissing(),
			fmt.Sprintf("%s is not installed: the cluster does not serve %s in version %s; nothing is changed until it does", s.missing.project, s.missing.crd, s.missing.kind.Version))
	}
	if !s.dependenciesKnown {
		return conditions.Unknown(v1alpha1.ConditionDependenciesAvailable, v1alpha1.ReasonPending, "it could not be found out; it is tried again")
	}
	return conditions.True(v1alpha1.ConditionDependenciesAvailable, v1alpha1.ReasonAvailable, "KubeVirt and Istio are installed")
}

func (s *scope) serviceReady() conditions.Condition {
	return s.applied(v1alpha1.ConditionServiceReady, "the Service is in place", children.ServiceKind)
}

func (s *scope) meshPolicyApplied() conditions.Condition {
	return s.applied(v1alpha1.ConditionMeshPolicyApplied, "the Istio objects are in place"+s.notByZtunnel(),
		children.DestinationRuleKind, children.VirtualServiceKind, children.PeerAuthenticationKind)
}

// notByZtunnel says which of the policies ztunnel does not carry out: it reads
// no VirtualService and no DestinationRule.
func (s *scope) notByZtunnel() string {
	mesh := s.mvm.Spec.Mesh
	if mesh.DataPlaneOrDefault() != v1alpha1.DataPlaneAmbient {
		return ""
	}
	var fields []string
	if mesh.Traffic.Timeout != "" || mesh.Traffic.Retries != nil {
		fields = append(fields, "mesh.traffic")
	}
	if mesh.TrafficPolicy != nil {
		fields = append(fields, "mesh.trafficPolicy")
	}
	if len(fields) == 0 {
		return ""
	}
	return "; ztunnel knows nothing of " + strings.Join(fields, " and ") + ": it takes effect for clients with a sidecar and for requests through a waypoint"
}

// applied states whether all wanted objects of the kinds are in place.
func (s *scope) applied(t v1alpha1.ConditionType, good string, kinds ...schema.GroupVersionKind) conditions.Condition {
	if s.children == nil || s.invalid != nil {
		return conditions.Unknown(t, v1alpha1.ReasonPending, "not looked at: see Accepted and DependenciesAvailable; what was made before is left as it is")
	}
	found := false
	for _, kind := range kinds {
		key := apply.Key{Kind: kind.GroupKind(), Name: s.mvm.Name}
		if err := s.failures[key]; err != nil {
			return conditions.False(t, failureReason(err), err.Error())
		}
		found = found || s.children[key] != nil
	}
	switch {
	case !found && s.paused:
		return conditions.False(t, v1alpha1.ReasonOutOfDate, "not made while the operator is paused")
	case !found:
		return conditions.Unknown(t, v1alpha1.ReasonPending, "not made yet")
	}
	return conditions.True(t, v1alpha1.ReasonApplied, good)
}

func failureReason(err error) v1alpha1.ConditionReason {
	switch {
	case errors.Is(err, apply.ErrConflict):
		return v1alpha1.ReasonConflict
	case errors.Is(err, apply.ErrDiffers):
		return v1alpha1.ReasonOutOfDate
	case refused(err):
		return v1alpha1.ReasonInvalidSpec
	default:
		return v1alpha1.ReasonApplyFailed
	}
}

func (s *scope) virtualMachineReady() conditions.Condition {
	const t = v1alpha1.ConditionVirtualMachineReady
	if err := s.failures[apply.Key{Kind: children.VirtualMachineKind.GroupKind(), Name: s.mvm.Name}]; err != nil {
		return conditions.False(t, failureReason(err), err.Error())
	}
	ready := s.vmCondition(kubevirtv1.VirtualMachineReady)
	paused := s.vmCondition(kubevirtv1.VirtualMachinePaused)
	switch {
	case s.children == nil:
		return conditions.Unknown(t, v1alpha1.ReasonPending, "not looked at: see DependenciesAvailable")
	case s.vm == nil && s.held:
		return conditions.False(t, v1alpha1.ReasonNotCreated, "the guest is made when the Service and the Istio objects are in place")
	case s.vm == nil:
		return conditions.False(t, v1alpha1.ReasonNotCreated, "there is no VirtualMachine yet")
	case s.vm.Status.PrintableStatus == kubevirtv1.VirtualMachineStatusStopped && s.vmi == nil:
		return conditions.False(t, v1alpha1.ReasonStopped, "the VirtualMachine is stopped")
	case s.notReleased != nil:
		return conditions.False(t, v1alpha1.ReasonStarting, s.whyNotReleased())
	case s.heldBack() != nil:
		return conditions.False(t, v1alpha1.ReasonStarting, "the guest is held back until the rules of pod "+s.heldBack().Name+" were verified")
	// A guest that starts paused shows Ready for a moment before it shows
	// Paused, so Paused is asked first.
	case paused != nil && paused.Status == corev1.ConditionTrue:
		return conditions.False(t, v1alpha1.ReasonPaused, cmp.Or(paused.Message, "the guest is paused"))
	case ready != nil && ready.Status == corev1.ConditionTrue:
		return conditions.True(t, v1alpha1.ReasonRunning, "the guest runs")
	case s.vmi != nil && s.vmi.Status.Phase == kubevirtv1.Running:
		return conditions.False(t, v1alpha1.ReasonGuestNotReady, cmp.Or(messageOf(ready), "the guest runs and is not ready"))
	default:
		return conditions.False(t, v1alpha1.ReasonStarting, cmp.Or(s.notSynchronized(), messageOf(ready), "waiting for KubeVirt to start the guest"))
	}
}

// whyNotReleased says why a guest is still paused whose rules are there.
func (s *scope) whyNotReleased() string {
	if apierrors.IsForbidden(s.notReleased) {
		return "the rules are there, and the operator may not let the guest run: give it the right in config/unpause, which the start gate Pause needs"
	}
	return "the rules are there: " + s.notReleased.Error()
}

// notSynchronized is what keeps KubeVirt from making the guest's pod, as a
// webhook that does not answer.
func (s *scope) notSynchronized() string {
	if s.vmi == nil {
		return ""
	}
	for _, c := range s.vmi.Status.Conditions {
		if c.Type == kubevirtv1.VirtualMachineInstanceSynchronized && c.Status == corev1.ConditionFalse {
			return c.Message
		}
	}
	return ""
}

// natProgrammed states whether every live launcher pod that may run the guest
// was proven to have its rules.
func (s *scope) natProgrammed() conditions.Condition {
	const t = v1alpha1.ConditionNATProgrammed
	if s.nats == nil {
		return conditions.Unknown(t, v1alpha1.ReasonPending, "not looked at: see Accepted and DependenciesAvailable")
	}
	if len(s.pods) == 0 {
		return conditions.False(t, v1alpha1.ReasonNoPod, "there is no live virt-launcher pod")
	}
	waits := ""
	for i := range s.pods {
		pod := &s.pods[i]
		c := s.podProgrammed(pod)
		switch {
		case c.Status == metav1.ConditionTrue:
		case s.role(pod) == v1alpha1.PodRoleMigrationTarget && startgate.Blocks(pod):
			waits = "; the migration to pod " + pod.Name + " is held back: " + c.Message
		case launcherpod.Ready(pod):
			c.Message += "; pod " + pod.Name + " is Ready and so may be in the Service's endpoints all the same"
			return c
		default:
			return c
		}
	}
	if s.invalid != nil {
		return conditions.Unknown(t, v1alpha1.ReasonPending, "every live virt-launcher pod has rules, of a spec before this one: see Accepted")
	}
	return conditions.True(t, v1alpha1.ReasonProgrammed, "the rules of every live virt-launcher pod were read back from the kernel"+waits)
}

// podProgrammed states the same of one pod.
func (s *scope) podProgrammed(pod *corev1.Pod) conditions.Condition {
	const t = v1alpha1.ConditionNATProgrammed
	if err := s.failures[s.natKey(pod)]; err != nil {
		return conditions.False(t, failureReason(err), err.Error())
	}
	nat, ok := s.nats[pod.UID]
	if !ok {
		return conditions.False(t, v1alpha1.ReasonProgramming, s.whyNoNAT(pod))
	}
	if conditions.IsTrue(nat.Status.Conditions, v1alpha1.ConditionReady, nat.Generation) {
		return conditions.True(t, v1alpha1.ReasonProgrammed, "")
	}
	reason, message := v1alpha1.ReasonProgramming, "waiting for the rules of pod "+pod.Name
	if c := meta.FindStatusCondition(nat.Status.Conditions, string(v1alpha1.ConditionReady)); c != nil && c.ObservedGeneration == nat.Generation {
		reason, message = v1alpha1.ConditionReason(c.Reason), c.Message
	}
	return conditions.False(t, reason, message)
}

// whyNoNAT says why a live pod has no PodNATConfiguration.
func (s *scope) whyNoNAT(pod *corev1.Pod) string {
	if pod.Spec.NodeName == "" {
		return "waiting for pod " + pod.Name + " to be scheduled"
	}
	if s.invalid != nil {
		return "the rules of pod " + pod.Name + " are not made while the spec is refused: see Accepted"
	}
	if len(pod.Status.PodIPs) == 0 {
		return "waiting for pod " + pod.Name + " to have an address"
	}
	if _, err := natplan.ConfigurationSpec(s.mvm, natplan.Facts{Pod: pod, VMI: s.vmi}); err != nil {
		return "the rules of pod " + pod.Name + " cannot be planned: " + err.Error()
	}
	return "waiting for the PodNATConfiguration of pod " + pod.Name
}

func (s *scope) natKey(pod *corev1.Pod) apply.Key {
	return apply.Key{
		Kind: children.PodNATConfigurationKind.GroupKind(),
		Name: children.PodNATConfigurationName(s.mvm.Name, pod.UID),
	}
}

// conflicts are the stable descriptions of objects of others, sorted.
func (s *scope) conflicts() []string {
	var out []string
	for _, err := range s.failures {
		if errors.Is(err, apply.ErrConflict) {
			out = append(out, err.Error())
		}
	}
	slices.Sort(out)
	return out
}

func (s *scope) vmCondition(t kubevirtv1.VirtualMachineConditionType) *kubevirtv1.VirtualMachineCondition {
	if s.vm == nil {
		return nil
	}
	for i := range s.vm.Status.Conditions {
		if s.vm.Status.Conditions[i].Type == t {
			return &s.vm.Status.Conditions[i]
		}
	}
	return nil
}

func messageOf(c *kubevirtv1.VirtualMachineCondition) string {
	if c == nil {
		return ""
	}
	return c.Message
}

// isProgrammed says whether the pod's rules were proven.
func (s *scope) isProgrammed(pod *corev1.Pod) metav1.ConditionStatus {
	nat, ok := s.nats[pod.UID]
	switch {
	case !ok:
		return metav1.ConditionUnknown
	case conditions.IsTrue(nat.Status.Conditions, v1alpha1.ConditionProgrammed, nat.Generation):
		return metav1.ConditionTrue
	default:
		return metav1.ConditionFalse
	}
}
