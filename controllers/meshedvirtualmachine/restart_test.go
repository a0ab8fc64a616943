// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"strings"
	"testing"

	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/builders"
)

// TestRestartRequired changes the template of the VirtualMachine of a running guest.
func TestRestartRequired(t *testing.T) {
	type metadata = map[string]string
	ambient := func(labels, annotations metadata) {
		labels[v1alpha1.LabelDataPlaneMode], labels[v1alpha1.LabelSidecarInject] = v1alpha1.DataPlaneModeAmbient, "false"
		delete(annotations, v1alpha1.LabelSidecarInject)
		annotations[v1alpha1.AnnotationAmbientDNSCapture] = "false"
	}
	const v2 = "pod virt-launcher-web-abcde has version v1, and version v2 takes effect at the next start of the guest: restart the guest, or set spec.version to v1"
	const before = "was started before changes that take effect at the next start: "
	for name, tc := range map[string]struct {
		change func(labels, annotations metadata)
		mod    func(*scope)
		want   string
	}{
		"unchanged":                     {},
		"data plane":                    {change: ambient, want: before + "mesh.dataPlane is Ambient and the pod has Sidecar; restart the guest"},
		"start":                         {change: func(l, _ metadata) { l[v1alpha1.LabelStartGate] = v1alpha1.StartGateWatch }, want: before + "start is Immediate and the pod has AfterProgrammed; restart the guest"},
		"added label":                   {change: func(l, _ metadata) { l["team"] = "a" }, want: before + "label team; restart the guest"},
		"changed label":                 {change: func(l, _ metadata) { l[v1alpha1.LabelApp] = "shop" }, want: before + "label app; restart the guest"},
		"annotations":                   {change: func(_, a metadata) { a["b"], a["a"] = "1", "1" }, want: before + "annotation a, annotation b; restart the guest"},
		"removed Istio's":               {change: func(_, a metadata) { delete(a, "sidecar.istio.io/proxyCPU") }, want: before + "removed annotation sidecar.istio.io/proxyCPU; restart the guest"},
		"added by KubeVirt":             {mod: func(s *scope) { s.vmi.Labels["kubevirt.io/nodeName"], s.vmi.Annotations["kubevirt.io/x"] = "a", "b" }},
		"rewritten in the pod":          {mod: func(s *scope) { s.pods[0].Annotations["note"] = "rewritten" }},
		"template not known":            {mod: func(s *scope) { s.vm.Spec.Template = nil }},
		"another version":               {change: func(l, _ metadata) { l[v1alpha1.LabelVersion] = "v2" }, want: v2},
		"a version that is not applied": {mod: func(s *scope) { s.mvm.Spec.Version = "v2" }},
		"version of the pod removed": {
			change: func(l, _ metadata) { l[v1alpha1.LabelVersion] = "v2" },
			mod:    func(s *scope) { delete(s.pods[0].Labels, v1alpha1.LabelVersion) },
		},
		"service account": {change: func(_, a metadata) { a[v1alpha1.AnnotationServiceAccount] = "db" }, want: before + "mesh.identity.serviceAccountName is db and the pod has default; restart the guest"},
		"another service account": {
			change: func(_, a metadata) { a[v1alpha1.AnnotationServiceAccount] = "db" },
			mod: func(s *scope) {
				s.pods[0].Annotations[v1alpha1.AnnotationServiceAccount], s.pods[0].Spec.ServiceAccountName = "web", "web"
			},
			want: before + "mesh.identity.serviceAccountName is db and the pod has web; restart the guest",
		},
		"removed service account": {
			mod: func(s *scope) {
				s.pods[0].Annotations[v1alpha1.AnnotationServiceAccount], s.pods[0].Spec.ServiceAccountName = "web", "web"
			},
			want: before + "mesh.identity is not set and the pod has service account web; restart the guest",
		},
		"the same service account": {
			change: func(_, a metadata) { a[v1alpha1.AnnotationServiceAccount] = "db" },
			mod: func(s *scope) {
				s.pods[0].Annotations[v1alpha1.AnnotationServiceAccount], s.pods[0].Spec.ServiceAccountName = "db", "db"
			},
		},
		"a service account that the webhook did not set": {
			mod: func(s *scope) {
				for _, a := range []metadata{s.vm.Spec.Template.ObjectMeta.Annotations, s.vmi.Annotations, s.pods[0].Annotations} {
					a[v1alpha1.AnnotationServiceAccount] = "db"
				}
			},
			want: before + "mesh.identity.serviceAccountName is db and the pod has default; restart the guest",
		},
		"a service account of KubeVirt": {mod: func(s *scope) { s.pods[0].Spec.ServiceAccountName = "volume" }},
		"KubeVirt's reason":             {mod: vmCondition(kubevirtv1.VirtualMachineRestartRequired), want: "KubeVirt requires a restart of the guest"},
		"two reasons": {
			change: func(l, _ metadata) { l["team"] = "a" }, mod: vmCondition(kubevirtv1.VirtualMachineRestartRequired),
			want: "label team; restart the guest; KubeVirt requires a restart of the guest",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := world(func(s *scope) {
				s.vmi.Labels[v1alpha1.LabelStartGate] = v1alpha1.StartGateContainer
				s.vmi.Annotations["note"], s.vmi.Annotations["sidecar.istio.io/proxyCPU"] = "kept", "1"
				s.pods[0] = *builders.LauncherPod(s.vmi, "abcde").Node("node-a").Obj()
				s.pods[0].Annotations = s.vmi.DeepCopy().Annotations
				copied := s.vmi.DeepCopy()
				s.vm.Spec.Template = &kubevirtv1.VirtualMachineInstanceTemplateSpec{}
				s.vm.Spec.Template.ObjectMeta.Labels, s.vm.Spec.Template.ObjectMeta.Annotations = copied.Labels, copied.Annotations
				if tc.change != nil {
					tc.change(copied.Labels, copied.Annotations)
				}
				if tc.mod != nil {
					tc.mod(s)
				}
			})
			got := s.restartRequired()
			if (got == "") != (tc.want == "") || !strings.Contains(got, tc.want) {
				t.Errorf("got  %q\nwant %q", got, tc.want)
			}
		})
	}
}

// TestNotByZtunnel checks that the message describes the data plane of the running pod,
// and not the one that the next pod has.
func TestNotByZtunnel(t *testing.T) {
	for name, tc := range map[string]struct {
		spec v1alpha1.DataPlane
		mod  func(*scope)
		want bool
	}{
		"Sidecar": {v1alpha1.DataPlaneSidecar, nil, false},
		"Ambient, and a pod of the previous data plane": {v1alpha1.DataPlaneAmbient, nil, false},
		"Ambient, no pod": {v1alpha1.DataPlaneAmbient, func(s *scope) { s.pods = nil }, true},
		"Sidecar, and a pod of the previous data plane": {v1alpha1.DataPlaneSidecar, func(s *scope) {
			s.pods[0] = *builders.LauncherPod(s.vmi, "abcde").Ambient("enabled", false).Obj()
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := world(func(s *scope) {
				s.mvm.Spec.Mesh.DataPlane = tc.spec
				s.mvm.Spec.Ports[0].Timeout = "5s"
				if tc.mod != nil {
					tc.mod(s)
				}
			})
			if got := s.notByZtunnel() != ""; got != tc.want {
				t.Errorf("the message is present: %t, want %t", got, tc.want)
			}
		})
	}
}
