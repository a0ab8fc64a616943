// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
)

// summarized are the conditions that Ready summarizes, in the order in which the operator
// fulfills them.
var summarized = []v1alpha1.ConditionType{
	v1alpha1.ConditionAccepted, v1alpha1.ConditionDependenciesAvailable, v1alpha1.ConditionServiceReady,
	v1alpha1.ConditionMeshPolicyApplied, v1alpha1.ConditionMeshPolicyEffective, v1alpha1.ConditionVirtualMachineReady,
	v1alpha1.ConditionNATProgrammed,
}

// attention are the conditions that need attention although they do not affect Ready.
var attention = []v1alpha1.ConditionType{
	v1alpha1.ConditionRestartRequired, v1alpha1.ConditionStartNotHeld, v1alpha1.ConditionVirtualMachineAdjusted,
	v1alpha1.ConditionStrayGuests, v1alpha1.ConditionTrafficShifted,
}

// summary computes the state of a machine from its object alone.
func summary(mvm *v1alpha1.MeshedVirtualMachine) Machine {
	all := mvm.Status.Conditions
	m := Machine{
		Namespace: mvm.Namespace, Name: mvm.Name,
		Ready: string(metav1.ConditionUnknown), Reason: string(v1alpha1.ReasonPending),
		VirtualMachine: reasonOf(all, v1alpha1.ConditionVirtualMachineReady), NAT: reasonOf(all, v1alpha1.ConditionNATProgrammed),
		MTLS: string(mvm.Status.MTLS.EffectiveMode),
	}
	if mvm.Spec.Adopts() {
		m.VirtualMachineName = mvm.VirtualMachineName()
	}
	if m.MTLS == "" {
		m.MTLS = string(metav1.ConditionUnknown)
	}
	if ready := meta.FindStatusCondition(all, string(v1alpha1.ConditionReady)); ready != nil {
		m.Ready, m.Reason = string(ready.Status), ready.Reason
	}
	m.Pauses = pauses(mvm)
	m.Blocker = blocker(mvm)
	for _, t := range attention {
		if c := meta.FindStatusCondition(all, string(t)); c != nil && c.Status == metav1.ConditionTrue {
			m.Notices = append(m.Notices, blocked(*c))
		}
	}
	m.AsDeclared = m.Blocker == nil && !meta.IsStatusConditionTrue(all, string(v1alpha1.ConditionRestartRequired))
	m.Verdict = verdict(m)
	m.Next = next(m)
	return m
}

func reasonOf(all []metav1.Condition, t v1alpha1.ConditionType) string {
	if c := meta.FindStatusCondition(all, string(t)); c != nil {
		return c.Reason
	}
	return string(v1alpha1.ReasonPending)
}

// pauses returns the reasons why a program does not act on the machine.
func pauses(mvm *v1alpha1.MeshedVirtualMachine) []string {
	var out []string
	if c := meta.FindStatusCondition(mvm.Status.Conditions, string(v1alpha1.ConditionPaused)); c != nil {
		out = append(out, c.Message)
	} else if mvm.PausedByUser() {
		out = append(out, "the annotation "+v1alpha1.AnnotationPaused+" is set")
	}
	if c := meta.FindStatusCondition(mvm.Status.Conditions, string(v1alpha1.ConditionVirtualMachineReady)); c != nil && c.Reason == string(v1alpha1.ReasonPaused) {
		out = append(out, c.Message)
	}
	return out
}

// blocker returns the first condition that prevents the declared state, or nil.
func blocker(mvm *v1alpha1.MeshedVirtualMachine) *Blocker {
	ready := meta.FindStatusCondition(mvm.Status.Conditions, string(v1alpha1.ConditionReady))
	switch {
	case mvm.DeletionTimestamp != nil:
		b := Blocker{
			Condition: string(v1alpha1.ConditionReady), Reason: string(v1alpha1.ReasonTerminating), Turn: turnFor(string(v1alpha1.ReasonTerminating)),
			Since: *mvm.DeletionTimestamp, Message: "the machine is being deleted",
		}
		if ready != nil && ready.Reason == b.Reason {
			b.Message = ready.Message
		}
		return &b
	case ready == nil || mvm.Status.ObservedGeneration != mvm.Generation || ready.ObservedGeneration != mvm.Generation:
		return &Blocker{
			Condition: string(v1alpha1.ConditionReady), Reason: string(v1alpha1.ReasonPending), Turn: TurnOperator, Since: changed(mvm),
			Message: fmt.Sprintf("the operator has processed generation %d of the spec, and the latest is %d: if this persists, the operator does not run",
				mvm.Status.ObservedGeneration, mvm.Generation),
		}
	case ready.Status == metav1.ConditionTrue:
		return nil
	}
	var open []metav1.Condition
	for _, t := range summarized {
		if c := meta.FindStatusCondition(mvm.Status.Conditions, string(t)); c != nil && c.Status != metav1.ConditionTrue {
			open = append(open, *c)
		}
	}
	if len(open) == 0 {
		open = []metav1.Condition{*ready}
	}
	b := blocked(cause(open))
	return &b
}

// cause returns the condition that the others wait for: a condition that is False before
// one that is Unknown, and the rules before the guest that they delay.
func cause(open []metav1.Condition) metav1.Condition {
	first := open[0]
	if i := slices.IndexFunc(open, func(c metav1.Condition) bool { return c.Status == metav1.ConditionFalse }); i >= 0 {
		first = open[i]
	}
	waits := first.Type == string(v1alpha1.ConditionVirtualMachineReady) && first.Reason == string(v1alpha1.ReasonStarting)
	for _, c := range open {
		if waits && c.Type == string(v1alpha1.ConditionNATProgrammed) && c.Status == metav1.ConditionFalse && c.Reason != string(v1alpha1.ReasonNoPod) {
			return c
		}
	}
	return first
}

// changed returns the time of the last change of the object that is known from it.
func changed(mvm *v1alpha1.MeshedVirtualMachine) metav1.Time {
	latest := mvm.CreationTimestamp
	for _, f := range mvm.ManagedFields {
		if f.Subresource == "" && f.Time != nil && latest.Before(f.Time) {
			latest = *f.Time
		}
	}
	return latest
}

func blocked(c metav1.Condition) Blocker {
	return Blocker{Condition: c.Type, Reason: c.Reason, Message: c.Message, Since: c.LastTransitionTime, Turn: turnFor(c.Reason)}
}

// verdict is the first line of the text of one machine.
func verdict(m Machine) string {
	name := m.Namespace + "/" + m.Name
	switch {
	case m.Blocker != nil:
		return fmt.Sprintf("%s is not as declared: %s, reason %s, next to act: %s", name, m.Blocker.Condition, m.Blocker.Reason, m.Blocker.Turn)
	case !m.AsDeclared:
		return name + " is Ready, but a restart of the guest is required for the declared state"
	case m.Reason == string(v1alpha1.ReasonStopped):
		return name + " is as declared: the guest is stopped"
	}
	return fmt.Sprintf("%s is as declared: the guest runs, and the rules of its pods are verified", name)
}

// next returns the command that continues from the state of a machine.
func next(m Machine) string {
	kubectl := "kubectl -n " + m.Namespace
	switch {
	case m.Blocker == nil && !m.AsDeclared:
		return "virtctl -n " + m.Namespace + " restart " + cmp.Or(m.VirtualMachineName, m.Name)
	case m.Blocker == nil:
		return fmt.Sprintf("kubectl meshvm nat %s -n %s", m.Name, m.Namespace)
	case m.Blocker.Turn == TurnOperator, m.Blocker.Turn == TurnCluster:
		return fmt.Sprintf("kubectl meshvm status %s -n %s --watch", m.Name, m.Namespace)
	case len(m.Pauses) > 0 && m.Blocker.Reason == string(v1alpha1.ReasonOutOfDate):
		return kubectl + " annotate mvm " + m.Name + " " + v1alpha1.AnnotationPaused + "-"
	}
	return kubectl + " describe mvm " + m.Name
}

// single returns the result for one machine.
func single(m Machine) Result {
	return Result{Format: Format, Verdict: m.Verdict, AsDeclared: m.AsDeclared, Machines: []Machine{m}, Next: m.Next}
}

// several returns the result for the machines of a namespace, or of all namespaces if
// namespace is empty.
func several(namespace string, machines []Machine) Result {
	where := "in all namespaces"
	if namespace != "" {
		where = "in namespace " + namespace
	}
	r := Result{Format: Format, AsDeclared: true, Machines: machines}
	declared := 0
	for _, m := range machines {
		if m.AsDeclared {
			declared++
			continue
		}
		if r.AsDeclared {
			r.Next = fmt.Sprintf("kubectl meshvm status %s -n %s", m.Name, m.Namespace)
		}
		r.AsDeclared = false
	}
	r.Verdict = fmt.Sprintf("%d of %d machines %s are as declared", declared, len(machines), where)
	switch {
	case len(machines) == 0 && namespace == "":
		r.Next = "kubectl explain meshedvirtualmachine.spec"
	case len(machines) == 0:
		r.Next = "kubectl meshvm status --all-namespaces"
	case r.AsDeclared:
		r.Next = fmt.Sprintf("kubectl meshvm status %s -n %s", machines[0].Name, machines[0].Namespace)
	}
	return r
}
