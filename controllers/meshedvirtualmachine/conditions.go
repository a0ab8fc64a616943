// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/conditions"
	"meshvm.io/meshvm/internal/launcherpod"
	"meshvm.io/meshvm/internal/validate"
)

// conditions computes every condition of the object from the scope.
func (s *scope) conditions() []conditions.Condition {
	positive := []conditions.Condition{
		s.accepted(), s.dependenciesAvailable(), s.serviceReady(), s.meshPolicyApplied(), s.meshPolicyEffective(),
		s.virtualMachineReady(), s.natProgrammed(),
	}
	if s.paused {
		explainPause(positive)
	}
	all := conditions.Summarize(positive, s.progress(positive))
	explainStop(all)
	all = append(all, s.optional()...)
	if c, ok := pauseCondition(s.mvm.Annotations); ok {
		all = append(all, c)
	}
	return all
}

// pauseCondition returns the condition Paused. It is absent unless the annotation
// suspends reconciliation or has a value that a user may expect to suspend it.
func pauseCondition(annotations map[string]string) (c conditions.Condition, ok bool) {
	if ignored := validate.IgnoredPause(annotations); ignored != "" {
		return conditions.False(v1alpha1.ConditionPaused, v1alpha1.ReasonAnnotationIgnored, ignored), true
	}
	return conditions.True(v1alpha1.ConditionPaused, v1alpha1.ReasonPaused,
		"reconciliation is suspended while the annotation "+v1alpha1.AnnotationPaused+" is set"), annotations[v1alpha1.AnnotationPaused] == "true"
}

// explainPause prefixes the messages of conditions that are False because the
// operator is paused.
func explainPause(all []conditions.Condition) {
	pending := []v1alpha1.ConditionReason{
		v1alpha1.ReasonOutOfDate, v1alpha1.ReasonNotCreated, v1alpha1.ReasonProgramming, v1alpha1.ReasonDrifted,
	}
	for i := range all {
		if c := &all[i]; c.Status == metav1.ConditionFalse && slices.Contains(pending, c.Reason) {
			c.Message = "paused by the annotation " + v1alpha1.AnnotationPaused + "; remove it to resume: " + c.Message
		}
	}
}

// explainStop sets the reason of Ready if it is True while the guest is stopped.
func explainStop(all []conditions.Condition) {
	vm, _ := conditions.Find(all, v1alpha1.ConditionVirtualMachineReady)
	for i := range all {
		if c := &all[i]; c.Type == v1alpha1.ConditionReady && c.Status == metav1.ConditionTrue && vm.Reason == v1alpha1.ReasonStopped {
			c.Reason, c.Message = vm.Reason, vm.Message
		}
	}
}

// atRest contains the reasons of guests that are not available because a user
// requests it.
var atRest = []v1alpha1.ConditionReason{v1alpha1.ReasonPaused, v1alpha1.ReasonLinkDown}

// linkDown reports whether the guest's interface on the pod network is down, by the
// spec or by another client. KubeVirt copies the state from the VirtualMachine to the
// running guest.
func (s *scope) linkDown() bool {
	if s.vm.Spec.Template != nil && primaryDown(&s.vm.Spec.Template.Spec) {
		return true
	}
	return s.vmi != nil && primaryDown(&s.vmi.Spec)
}

func primaryDown(spec *kubevirtv1.VirtualMachineInstanceSpec) bool {
	primary, err := validate.PrimaryInterface(spec, nil)
	return err == nil && !primary.Implicit && spec.Domain.Devices.Interfaces[primary.Interface].State == kubevirtv1.InterfaceStateLinkDown
}

// progress classifies an object that is not ready.
func (s *scope) progress(positive []conditions.Condition) conditions.Progress {
	stalled := s.invalid != nil || s.missing != nil || s.failuresStall()
	stalled = stalled || slices.ContainsFunc(s.guestPods, guestPod.stalled)
	if stalled {
		return conditions.Stalled
	}
	if effective, _ := conditions.Find(positive, v1alpha1.ConditionMeshPolicyEffective); effective.Status == metav1.ConditionFalse && effective.Reason != v1alpha1.ReasonOutOfDate {
		return conditions.Stalled
	}
	vm, _ := conditions.Find(positive, v1alpha1.ConditionVirtualMachineReady)
	if vm.Reason == v1alpha1.ReasonGuestFailed {
		return conditions.Stalled
	}
	if s.paused || slices.Contains(atRest, vm.Reason) {
		return conditions.Idle
	}
	return conditions.InProgress
}

func (s *scope) accepted() conditions.Condition {
	if s.invalid != nil {
		return conditions.False(v1alpha1.ConditionAccepted, s.invalid.Reason, s.invalid.Error())
	}
	if s.mvm.Spec.Adopts() && !s.adoption.checked {
		return s.acceptedBefore()
	}
	return conditions.True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "the spec is accepted")
}

func (s *scope) dependenciesAvailable() conditions.Condition {
	if s.missing != nil {
		return conditions.False(v1alpha1.ConditionDependenciesAvailable, s.missing.reasonMissing(),
			fmt.Sprintf("%s is not installed: the cluster does not serve %s in version %s; existing objects are unchanged until it does", s.missing.project, s.missing.crd, s.missing.kind.Version))
	}
	if !s.dependenciesKnown && s.unread != nil {
		return conditions.Unknown(v1alpha1.ConditionDependenciesAvailable, v1alpha1.ReasonPending, s.unread.unreadMessage())
	}
	if !s.dependenciesKnown {
		return conditions.Unknown(v1alpha1.ConditionDependenciesAvailable, v1alpha1.ReasonPending, "could not determine whether KubeVirt and Istio are installed; retrying")
	}
	return conditions.True(v1alpha1.ConditionDependenciesAvailable, v1alpha1.ReasonAvailable, "KubeVirt and Istio are installed")
}

func (s *scope) serviceReady() conditions.Condition {
	const t = v1alpha1.ConditionServiceReady
	if s.children != nil && s.invalid == nil && len(s.mvm.Spec.Ports) == 0 {
		return conditions.True(t, v1alpha1.ReasonApplied, "spec.ports is empty, so the guest has no Service")
	}
	return s.childrenCondition(t, "the Service is applied")
}

func (s *scope) meshPolicyApplied() conditions.Condition {
	const t = v1alpha1.ConditionMeshPolicyApplied
	applied := s.childrenCondition(t, "the Istio objects are applied"+s.notByZtunnel())
	if c, found := s.notConfigured(t); found && applied.Status == metav1.ConditionTrue {
		return c
	}
	return applied
}

// notByZtunnel describes the policies that ztunnel does not enforce: it does
// not read VirtualServices and DestinationRules. A changed data plane takes effect at
// the next start.
func (s *scope) notByZtunnel() string {
	spec := s.lead().Spec
	if s.dataPlane() != v1alpha1.DataPlaneAmbient {
		return ""
	}
	var fields []string
	if slices.ContainsFunc(spec.Ports, func(p v1alpha1.Port) bool { return p.Timeout != "" || p.Retries != nil }) {
		fields = append(fields, "timeout and retries of ports")
	}
	if s.shares() {
		fields = append(fields, "the percentages of versions")
	}
	if r := spec.Mesh.Routes; len(r.HTTP)+len(r.TLS)+len(r.TCP) > 0 {
		fields = append(fields, "mesh.routes")
	}
	if spec.Mesh.TrafficPolicy != nil {
		fields = append(fields, "mesh.trafficPolicy")
	}
	if len(fields) == 0 {
		return ""
	}
	return "; ztunnel does not enforce " + strings.Join(fields, ", ") + ", which take effect only for clients with a sidecar and for requests through a waypoint"
}

// notCheckedMessage is the message of conditions that were not computed because the
// desired objects are not known or a read failed.
func (s *scope) notCheckedMessage() string {
	if s.invalid == nil && s.dependenciesKnown {
		return "not checked because the operator could not read the objects of the guest; existing objects are unchanged, and the operator retries"
	}
	return "not checked because Accepted or DependenciesAvailable is not True; existing objects are unchanged"
}

// childrenCondition computes a condition from the objects of the kinds that it
// reports, according to the table of child kinds.
func (s *scope) childrenCondition(t v1alpha1.ConditionType, good string) conditions.Condition {
	if s.children == nil || s.invalid != nil {
		return conditions.Unknown(t, v1alpha1.ReasonPending, s.notCheckedMessage())
	}
	if c, failed := s.childFailure(t); failed {
		return c
	}
	found := slices.ContainsFunc(children.Reported(t), func(k children.Kind) bool { return len(s.childrenOf(k.GroupKind())) > 0 })
	switch {
	case !found && s.paused:
		return conditions.False(t, v1alpha1.ReasonOutOfDate, "not created while the operator is paused")
	case !found:
		return conditions.Unknown(t, v1alpha1.ReasonPending, "not created yet")
	}
	return conditions.True(t, v1alpha1.ReasonApplied, good)
}

// childFailure returns the condition for the first object that could not be
// applied among the kinds that the condition reports.
func (s *scope) childFailure(t v1alpha1.ConditionType) (c conditions.Condition, failed bool) {
	for _, k := range children.Reported(t) {
		if err := s.failureOf(k.GroupKind()); err != nil {
			return conditions.False(t, failureReason(err), s.failureMessage(k, err)), true
		}
	}
	return conditions.Condition{}, false
}

// failureOf returns the error of the first object of the kind that could not be
// applied, by name.
func (s *scope) failureOf(kind schema.GroupKind) error {
	var first apply.Key
	for key := range s.failures {
		if key.Kind == kind && (first.Name == "" || key.Name < first.Name) {
			first = key
		}
	}
	return s.failures[first]
}

// failureMessage describes an error of a kind. A field that the served version of the
// kind does not have is named with the version of the project that defines the kind.
func (s *scope) failureMessage(k children.Kind, err error) string {
	path := apply.UnknownField(err)
	if path == "" {
		return err.Error() + fieldsOf(k, err)
	}
	if k.GroupVersionKind == children.VirtualMachineKind {
		path = strings.Replace(path, "spec.", "spec.virtualMachine.", 1)
	} else {
		path = k.Kind + " " + path
	}
	upstream := strings.TrimSpace(string(k.Upstream) + " " + s.versions[k.GroupKind()])
	return fmt.Sprintf("%s: %s in this cluster does not support this field: remove it, or upgrade %s; the operator retries when the CRD changes",
		path, upstream, k.Upstream)
}

func (s *scope) childKey(k children.Kind) apply.Key {
	if children.IsOfService(k.GroupKind()) {
		return apply.Key{Kind: k.GroupKind(), Name: s.mvm.ServiceName()}
	}
	if k.GroupKind() == children.VirtualMachineKind.GroupKind() {
		return vmKey(s.mvm)
	}
	return apply.Key{Kind: k.GroupKind(), Name: s.mvm.Name}
}

func (s *scope) virtualMachineReady() conditions.Condition {
	const t = v1alpha1.ConditionVirtualMachineReady
	if c, failed := s.childFailure(t); failed {
		return c
	}
	ready := s.vmCondition(kubevirtv1.VirtualMachineReady)
	paused := s.vmCondition(kubevirtv1.VirtualMachinePaused)
	awaiting := s.awaitingRules()
	end, ended := s.afterEnd()
	switch {
	case s.children == nil:
		return conditions.Unknown(t, v1alpha1.ReasonPending, s.notCheckedMessage())
	case s.vm == nil && s.vmBlocked:
		return conditions.False(t, v1alpha1.ReasonNotCreated, "waiting for the Service and the Istio objects before creating the VirtualMachine")
	case s.vm == nil:
		return conditions.False(t, v1alpha1.ReasonNotCreated, "the VirtualMachine does not exist yet")
	case ended:
		return end
	case s.stopping():
		return conditions.False(t, v1alpha1.ReasonStopping, "KubeVirt is shutting down the guest")
	case s.unpauseError != nil:
		return conditions.False(t, v1alpha1.ReasonStarting, s.whyPaused())
	case awaiting != nil:
		return s.awaitsRules(awaiting)
	// A guest that starts paused is reported as Ready for a moment before it is
	// reported as Paused, so Paused has precedence.
	case paused != nil && paused.Status == corev1.ConditionTrue:
		return conditions.False(t, v1alpha1.ReasonPaused, cmp.Or(paused.Message, "the guest is paused"))
	case ready != nil && ready.Status == corev1.ConditionTrue && s.linkDown():
		return conditions.False(t, v1alpha1.ReasonLinkDown,
			"the guest is running, and its interface on the pod network is down: set state of this interface in "+s.vmSpec()+".template.spec.domain.devices.interfaces to up")
	case ready != nil && ready.Status == corev1.ConditionTrue:
		return conditions.True(t, v1alpha1.ReasonRunning, "the guest is running"+s.migrationObstacle())
	case s.vmi != nil && s.vmi.Status.Phase == kubevirtv1.Running:
		return conditions.False(t, v1alpha1.ReasonGuestNotReady, cmp.Or(messageOf(ready), "the guest is running but not ready"))
	default:
		return s.notStarted(ready)
	}
}

// whyPaused returns the reason why a guest with verified rules is still paused.
func (s *scope) whyPaused() string {
	if apierrors.IsForbidden(s.unpauseError) {
		return "the rules are verified, but the operator is not allowed to unpause the guest: apply config/unpause, which the start gate Pause needs"
	}
	return "the rules are verified: " + s.unpauseError.Error()
}

// notSynchronized returns KubeVirt's reason for not creating the guest's pod,
// for example a webhook that does not respond.
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

// natProgrammed reports whether every live virt-launcher pod that may run the
// guest has verified rules.
func (s *scope) natProgrammed() conditions.Condition {
	const t = v1alpha1.ConditionNATProgrammed
	if !s.podsKnown {
		return conditions.Unknown(t, v1alpha1.ReasonPending, s.notCheckedMessage())
	}
	switch {
	case len(s.guestPods) == 0 && s.stopped():
		return conditions.True(t, v1alpha1.ReasonNoPod, "the guest is stopped, so no pod needs rules")
	case len(s.guestPods) == 0:
		return conditions.False(t, v1alpha1.ReasonNoPod, "no live virt-launcher pod exists")
	}
	waiting := ""
	for _, g := range s.guestPods {
		c := g.rules
		switch {
		case c.Status == metav1.ConditionTrue:
		case g.role == v1alpha1.PodRoleMigrationTarget && (g.gateBlocks || g.Spec.NodeName == ""):
			waiting = "; the migration to pod " + g.Name + " waits: " + c.Message
		case launcherpod.Ready(g.Pod):
			c.Message += "; pod " + g.Name + " is Ready and can be in the Service's endpoints"
			return c
		default:
			return c
		}
	}
	if s.invalid != nil {
		return conditions.Unknown(t, v1alpha1.ReasonPending, "every live virt-launcher pod has the rules of an earlier spec: see condition Accepted")
	}
	return conditions.True(t, v1alpha1.ReasonProgrammed, "the rules of every live virt-launcher pod were read back from the kernel"+waiting)
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
