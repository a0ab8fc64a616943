// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/launcherpod"
)

// machine computes the state of a machine with the tree of its objects.
func machine(o observed) Machine {
	m := summary(o.mvm)
	m.Objects = append([]Node{o.guest()}, o.mesh()...)
	m.Unreadable = o.unreadable
	return m
}

// guest returns the VirtualMachine with its instance and pods.
func (o observed) guest() Node {
	instance := Node{Kind: "VirtualMachineInstance", Name: o.mvm.VirtualMachineName(), State: o.absent("VirtualMachineInstance"), Children: o.podNodes()}
	if o.vmi != nil {
		instance.State = string(o.vmi.Status.Phase)
		if o.vmi.Status.NodeName != "" {
			instance.State += " on node " + o.vmi.Status.NodeName
		}
	}
	vm := Node{Kind: "VirtualMachine", Name: o.mvm.VirtualMachineName(), State: o.absent("VirtualMachine")}
	if o.vm != nil {
		vm.State = cmp.Or(string(o.vm.Status.PrintableStatus), "no status")
	}
	if o.vmi != nil || len(instance.Children) > 0 {
		vm.Children = []Node{instance}
	}
	return vm
}

// absent is the state of an object that was not read.
func (o observed) absent(kind string) string {
	if slices.Contains(o.unreadable, kind) {
		return string(unknown)
	}
	return string(missing)
}

func (o observed) podNodes() []Node {
	var out []Node
	for _, p := range o.mvm.Status.Pods {
		n := Node{Kind: "Pod", Name: p.Name, State: string(p.Role)}
		if p.Node != "" {
			n.State += " on node " + p.Node
		}
		if p.Start != "" {
			n.State += ", start " + string(p.Start)
		}
		if i := slices.IndexFunc(o.pods, func(pod corev1.Pod) bool { return pod.UID == p.UID }); i >= 0 {
			n.State += ", " + podState(&o.pods[i])
			n.Children = append(n.Children, proxyNode(&o.pods[i]))
		}
		for _, nat := range o.nats {
			if nat.Spec.Pod.UID == p.UID {
				n.Children = append(n.Children, natNode(nat))
			}
		}
		out = append(out, n)
	}
	return out
}

func podState(p *corev1.Pod) string {
	state := string(p.Status.Phase) + ", not ready"
	if launcherpod.Ready(p) {
		state = string(p.Status.Phase) + ", ready"
	}
	if b, blocks := launcherpod.Blocker(p); blocks {
		state += ", waits for container " + b.Container + ": " + b.Message
	}
	if reason := launcherpod.Unschedulable(p); reason != "" {
		state += ", " + reason
	}
	return state
}

func proxyNode(p *corev1.Pod) Node {
	switch {
	case launcherpod.HasSidecar(p):
		return Node{Kind: "Proxy", Name: "istio-proxy", State: "sidecar in the pod"}
	case launcherpod.DataPlane(p) == v1alpha1.DataPlaneAmbient && launcherpod.AmbientEnrolled(p):
		return Node{Kind: "Proxy", Name: "ztunnel", State: "the pod is enrolled"}
	case launcherpod.DataPlane(p) == v1alpha1.DataPlaneAmbient:
		return Node{Kind: "Proxy", Name: "ztunnel", State: "the pod is not enrolled"}
	}
	return Node{Kind: "Proxy", Name: "istio-proxy", State: string(missing)}
}

// natNode describes the rules of a pod: verified or why not, the digest and the number of
// rules that were read back, and the rule-writer Job.
func natNode(nat v1alpha1.PodNATConfiguration) Node {
	n := Node{Kind: "PodNATConfiguration", Name: nat.Name, State: string(v1alpha1.ReasonPending)}
	if c := meta.FindStatusCondition(nat.Status.Conditions, string(v1alpha1.ConditionProgrammed)); c != nil {
		n.State = c.Reason
		if c.Status != metav1.ConditionTrue {
			n.State += ": " + c.Message
		}
	}
	if a := nat.Status.Applied; a.Digest != "" {
		n.State += fmt.Sprintf(", %d rules read back with digest %.12s", a.Rules, a.Digest)
	}
	if r := nat.Status.Repairs; r.Count > 0 {
		n.State += fmt.Sprintf(", repairs: %d, last %s", r.Count, r.LastReason)
	}
	if nat.Status.Job != "" {
		job := Node{Kind: "Job", Name: nat.Status.Job, State: "writes the rules in the namespace of the operator"}
		if nat.Status.Attempts > 0 {
			job.State += fmt.Sprintf(", failed Jobs: %d", nat.Status.Attempts)
		}
		n.Children = []Node{job}
	}
	return n
}

// mesh returns the Service and the Istio objects.
func (o observed) mesh() []Node {
	var out []Node
	if len(o.mvm.Spec.Ports) > 0 {
		out = append(out, o.serviceNode())
	}
	for _, r := range o.mvm.Status.RelatedObjects {
		if isIstio(r) {
			out = append(out, Node{Kind: r.Kind, Name: r.Name, State: string(o.related[r])})
		}
	}
	return out
}

func isIstio(r v1alpha1.RelatedObject) bool {
	return slices.ContainsFunc(children.Kinds(), func(k children.Kind) bool { return k.Kind == r.Kind && k.Upstream == children.UpstreamIstio })
}

// serviceNode returns the Service with its endpoints. Ports have the names of the spec.
func (o observed) serviceNode() Node {
	n := Node{Kind: "Service", Name: o.mvm.ServiceName(), State: o.absent("Service")}
	if o.service != nil {
		var ports []string
		for _, p := range o.service.Spec.Ports {
			ports = append(ports, fmt.Sprintf("%s %d/%s", p.Name, p.Port, p.Protocol))
		}
		n.State = fmt.Sprintf("%s, ports %s", o.service.Spec.Type, strings.Join(ports, ", "))
	}
	for _, slice := range o.endpoints {
		for _, e := range slice.Endpoints {
			n.Children = append(n.Children, endpointNode(e))
		}
	}
	if len(n.Children) == 0 && !slices.Contains(o.unreadable, "EndpointSlice") {
		n.State += ", no endpoints"
	}
	return n
}

func endpointNode(e discoveryv1.Endpoint) Node {
	n := Node{Kind: "Endpoint", Name: strings.Join(e.Addresses, ","), State: "not ready"}
	if e.TargetRef != nil {
		n.Name = strings.ToLower(e.TargetRef.Kind) + "/" + e.TargetRef.Name + " (" + n.Name + ")"
	}
	if e.Conditions.Ready == nil || *e.Conditions.Ready {
		n.State = "ready"
	}
	return n
}
