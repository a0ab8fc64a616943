// SPDX-License-Identifier: Apache-2.0

package validate

import (
	"fmt"
	"slices"
	"strings"

	"meshvm.io/meshvm/api/v1alpha1"
)

// The checks of this file decide about settings of Istio whose meaning depends on
// the spec. Each returns the problem and its solution, or an empty string.

const (
	// guestBridge is the bridge to which KubeVirt connects the guest's primary
	// interface (KubeVirt, pkg/network/istio).
	guestBridge    = "k6t-eth0"
	otherInterface = "only the interface " + guestBridge + " of the guest is connected to the mesh, and KubeVirt sets this annotation: remove it"

	// rewriteProbes redirects the kubelet's probes to the proxy's agent.
	rewriteProbes = "sidecar.istio.io/rewriteAppHTTPProbers"
)

func isAmbient(mvm *v1alpha1.MeshedVirtualMachine) bool {
	return mvm.Spec.Mesh.DataPlaneOrDefault() == v1alpha1.DataPlaneAmbient
}

// ztunnelAlone reports whether no proxy processes the HTTP requests to the guest.
func ztunnelAlone(mvm *v1alpha1.MeshedVirtualMachine) bool {
	return isAmbient(mvm) && !mvm.Spec.Mesh.Waypoint.IsSet()
}

func dataPlaneMode(mvm *v1alpha1.MeshedVirtualMachine, value string) string {
	switch labelled := value == v1alpha1.DataPlaneModeAmbient; {
	case isAmbient(mvm) && !labelled:
		return "excludes the guest from ambient mode, but spec.mesh.dataPlane is Ambient: remove the label"
	case !isAmbient(mvm) && labelled:
		return "enables ambient mode, but spec.mesh.dataPlane is not Ambient: set spec.mesh.dataPlane to Ambient, or remove the label"
	default:
		return ""
	}
}

// inject is the check of the label and of the annotation of this name.
func inject(mvm *v1alpha1.MeshedVirtualMachine, value string) string {
	switch requested := strings.EqualFold(value, "true"); {
	case isAmbient(mvm) && requested:
		return "requests a sidecar, but Istio does not enroll pods with a sidecar in ambient mode: remove it"
	case !isAmbient(mvm) && !requested && value != "":
		return "excludes the guest from the mesh: remove it, or create a VirtualMachine instead"
	default:
		return ""
	}
}

func bypassInbound(_ *v1alpha1.MeshedVirtualMachine, value string) string {
	if !strings.EqualFold(value, "true") {
		return ""
	}
	return "excludes all inbound connections from the mesh: remove it, and set via: Direct on ports that bypass the mesh"
}

func ambientDNS(mvm *v1alpha1.MeshedVirtualMachine, value string) string {
	if value == AmbientDNSCapture(mvm) {
		return ""
	}
	return fmt.Sprintf("the value %q contradicts spec.capture.dns: remove the annotation, and set spec.capture.dns to Proxy to capture DNS", value)
}

// templates accepts additional templates of an installation, but not the absence
// of the sidecar.
func templates(mvm *v1alpha1.MeshedVirtualMachine, value string) string {
	names := strings.Split(strings.ReplaceAll(value, " ", ""), ",")
	if isAmbient(mvm) || slices.Contains(names, "sidecar") {
		return ""
	}
	return fmt.Sprintf("the templates %q do not contain sidecar, which adds the guest's proxy: add sidecar to the list, or remove the annotation", value)
}

func useWaypoint(mvm *v1alpha1.MeshedVirtualMachine, _ string) string {
	if isAmbient(mvm) {
		return ""
	}
	return "has no effect on a guest with a sidecar: remove the label, or set spec.mesh.dataPlane to Ambient"
}

// probeRewrite rejects a disabled rewrite of probes that the proxy answers or
// refuses in place of the guest.
func probeRewrite(mvm *v1alpha1.MeshedVirtualMachine, value string) string {
	template := mvm.Spec.VirtualMachine.Template
	if !strings.EqualFold(value, "false") || isAmbient(mvm) || template == nil {
		return ""
	}
	for _, p := range probesOf(&template.Spec, templateSpecPath) {
		mode, meshed := guestPortMode(mvm, p.port)
		switch {
		case !meshed:
		case p.http && mode == v1alpha1.MTLSModeStrict:
			return fmt.Sprintf("the proxy refuses the kubelet's plain-text probe of port %d (%s), whose mTLS mode is Strict: remove the annotation", p.port, p.path)
		case p.http && mvm.Spec.RestrictsClients():
			return fmt.Sprintf("the proxy refuses the kubelet's plain-text probe of port %d (%s), because the spec permits only some clients and the kubelet has no identity in the mesh: remove the annotation", p.port, p.path)
		case !p.http:
			return fmt.Sprintf("the proxy accepts the kubelet's probe of port %d (%s) in place of the guest, so it always succeeds: remove the annotation", p.port, p.path)
		}
	}
	return ""
}

// guestPortMode returns the mutual TLS mode of a guest port, and whether its
// connections pass through the proxy.
func guestPortMode(mvm *v1alpha1.MeshedVirtualMachine, port int32) (mode v1alpha1.MTLSMode, meshed bool) {
	for _, p := range mvm.Spec.Ports {
		if p.IsMeshed() && p.TargetPortOrDefault() == port {
			return mvm.Spec.MTLSModeOf(p), true
		}
	}
	return "", false
}
