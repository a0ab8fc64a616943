// SPDX-License-Identifier: Apache-2.0

//go:build linux

package witness

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
)

// see records the events of an object.
func (w *Witness) see(ctx context.Context, resource string, u *unstructured.Unstructured, old, gone bool) {
	switch resource {
	case "pods":
		if u.GetLabels()[kubevirtv1.AppLabel] == "virt-launcher" {
			w.pod(ctx, u, old, gone)
		}
	case "endpointslices":
		w.endpoints(u, gone)
	case "podnatconfigurations":
		w.nat(u, gone)
	default:
		phase, _, _ := unstructured.NestedString(u.Object, "status", "phase")
		if phase != "" {
			phase = u.GetKind() + " " + phase
		}
		w.change(u, "", u.GetName(), string(u.GetUID()), phase)
	}
}

func decode[T any](u *unstructured.Unstructured) *T {
	out := new(T)
	_ = runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out)
	return out
}

// scheduling returns the node of a pod, or the reason why the pod is not
// scheduled.
func scheduling(p *corev1.Pod) string {
	if p.Spec.NodeName != "" {
		return "scheduled to " + p.Spec.NodeName
	}
	for _, c := range p.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return "not scheduled: " + c.Message
		}
	}
	return ""
}

func (w *Witness) pod(ctx context.Context, u *unstructured.Unstructured, old, gone bool) {
	p := decode[corev1.Pod](u)
	key := func(what string) string { return string(p.UID) + "/" + what }
	say := func(what, value string) { w.change(u, p.UID, p.Name, key(what), value) }
	w.mu.Lock()
	known := w.pods[p.UID] != nil
	if !known {
		w.pods[p.UID] = &counts{old: old}
	}
	w.mu.Unlock()
	if !known {
		say("", Created)
		if !old {
			w.running.Go(func() { w.count(ctx, p.UID, p.Name) })
		}
	}
	w.conditions(p, say)
	for _, c := range p.Status.InitContainerStatuses {
		switch {
		case c.State.Terminated != nil && c.Name == "meshvm-gate":
			say("gate"+c.ContainerID, fmt.Sprintf("container meshvm-gate ended with %d", c.State.Terminated.ExitCode))
		case c.State.Running != nil:
			say(c.Name+c.ContainerID, "container "+c.Name+" runs")
		}
	}
	for _, c := range p.Status.ContainerStatuses {
		if c.State.Running != nil {
			say(c.Name, "container "+c.Name+" runs")
		}
	}
	if gone || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		say("gone", Gone)
	}
}

// conditions records the node of a pod, its sandbox and its readiness.
func (w *Witness) conditions(p *corev1.Pod, say func(what, value string)) {
	if value := scheduling(p); value != "" {
		say("scheduled", value)
	}
	for _, c := range p.Status.Conditions {
		switch {
		case c.Type == corev1.PodReadyToStartContainers && c.Status == corev1.ConditionTrue:
			say("sandbox", "sandbox reported")
		case c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue:
			say("ready", Ready)
		case c.Type == corev1.PodReady && w.Find(p.UID, Ready) != nil:
			say("ready", NotReady)
		}
	}
}

func (w *Witness) nat(u *unstructured.Unstructured, gone bool) {
	c := decode[v1alpha1.PodNATConfiguration](u)
	uid, key := c.Spec.Pod.UID, string(c.Spec.Pod.UID)+"/nat"
	switch programmed := meta.FindStatusCondition(c.Status.Conditions, string(v1alpha1.ConditionProgrammed)); {
	case gone:
		w.change(u, uid, c.Spec.Pod.Name, key, NATGone)
	case programmed != nil && programmed.Status == "True":
		w.change(u, uid, c.Spec.Pod.Name, key, Programmed)
	case programmed != nil && w.Find(uid, Programmed) != nil:
		w.change(u, uid, c.Spec.Pod.Name, key, fmt.Sprintf("not Programmed: %s", programmed.Reason))
	}
}

func (w *Witness) endpoints(u *unstructured.Unstructured, gone bool) {
	slice := decode[discoveryv1.EndpointSlice](u)
	in := map[types.UID]bool{}
	for _, e := range slice.Endpoints {
		if e.TargetRef != nil && e.Conditions.Ready != nil && *e.Conditions.Ready {
			in[e.TargetRef.UID] = !gone
		}
	}
	for _, uid := range w.Pods() {
		key, name := string(uid)+"/in/"+slice.Name, w.Find(uid, Created).Object
		switch {
		case in[uid]:
			w.change(u, uid, name, key, InEndpoints)
		case w.Find(uid, InEndpoints) != nil:
			w.change(u, uid, name, key, OutEndpoints)
		}
	}
}
