// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/children"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ofService are the kinds that the members of a Service share.
var ofService = []schema.GroupVersionKind{children.ServiceKind, children.DestinationRuleKind, children.VirtualServiceKind}

// sharing returns a guest with another version that shares the Service web.
func (s *suite) sharing(name, version string, percent int32) *v1alpha1.MeshedVirtualMachine {
	o := s.web()
	o.Name = name
	o.Spec.Version = version
	o.Spec.Service = v1alpha1.ServiceSpec{Name: "web", TrafficPercent: &percent}
	return o
}

// awaitRoutes waits until the route of the Service web has these destinations: a subset,
// or a subset with its weight.
func (s *suite) awaitRoutes(wanted ...string) {
	s.Helper()
	s.eventually(fmt.Sprintf("the routes are %q", wanted), func() error {
		_, vs := s.istio("web")
		var got []string
		for _, d := range vs.Spec.Http[0].Route {
			to := d.Destination.Subset
			if d.Weight > 0 {
				to += fmt.Sprintf("=%d", d.Weight)
			}
			got = append(got, to)
		}
		if !slices.Equal(got, wanted) {
			return fmt.Errorf("the routes are %q", got)
		}
		return nil
	})
}

// awaitOwners waits until the objects of the Service web have these owners, the
// controller first, and returns their UIDs.
func (s *suite) awaitOwners(names ...string) []string {
	s.Helper()
	var uids []string
	s.eventually(fmt.Sprintf("the owners are %q", names), func() error {
		uids = nil
		for _, kind := range ofService {
			o, err := s.read(kind, "web")
			if err != nil {
				return err
			}
			ref := metav1.GetControllerOf(o)
			if ref == nil || ref.Name != names[0] || len(o.GetOwnerReferences()) != len(names) {
				return fmt.Errorf("the owners of %s are %v", kind.Kind, o.GetOwnerReferences())
			}
			for _, r := range o.GetOwnerReferences() {
				if !slices.Contains(names, r.Name) {
					return fmt.Errorf("%s has the owner %s", kind.Kind, r.Name)
				}
			}
			uids = append(uids, string(o.GetUID()))
		}
		return nil
	})
	return uids
}

// podReady writes the condition Ready of a pod, without a time of its transition, so that
// no test depends on the time for which a version serves.
func (s *suite) podReady(pod *corev1.Pod, status corev1.ConditionStatus) {
	s.Helper()
	s.podIs(pod, func(st *corev1.PodStatus) {
		for i := range st.Conditions {
			if c := &st.Conditions[i]; c.Type == corev1.PodReady {
				c.Status, c.LastTransitionTime = status, metav1.Time{}
			}
		}
	})
}

// percentages describes the versions in the status.
func percentages(o *v1alpha1.MeshedVirtualMachine) string {
	var out []string
	for _, v := range o.Status.Service.Versions {
		out = append(out, fmt.Sprintf("%s=%d>%d", v.Version, *v.DeclaredPercent, *v.EffectivePercent))
	}
	return strings.Join(out, " ")
}

// forGateways returns a member of a Service with a host of a gateway.
func forGateways(o *v1alpha1.MeshedVirtualMachine) *v1alpha1.MeshedVirtualMachine {
	o.Spec.Mesh.Routes = v1alpha1.RoutesSpec{Hosts: []string{"shop.example.com"}, Gateways: []string{"public"}}
	return o
}

// TestCanary gives a Service a second member, and follows its traffic until the first one is
// deleted. The second one is then the only owner of the objects of the Service. The host of the
// gateway, which only the first one declares, is not exposed any more.
func TestCanary(t *testing.T) {
	s := start(t)
	s.gateway("*")
	stable, canary := forGateways(s.web()), s.sharing("web-canary", "v2", 10)
	s.converge(stable)
	s.awaitRoutes("v1")
	uids := s.awaitOwners("web")
	pod := s.converge(canary)
	s.awaitRoutes("v1=90", "v2=10")
	if got := s.awaitOwners("web", "web-canary"); !slices.Equal(got, uids) {
		t.Errorf("the objects were replaced: %q, %q", uids, got)
	}
	for _, name := range []string{"web", "web-canary"} {
		got := s.awaitMVM(name, want{v1alpha1.ConditionServiceShared, yes, v1alpha1.ReasonSeveralMembers}, want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
		s.eventually("the status of "+name+" contains the percentages", func() error {
			got = s.mvm(name)
			st := got.Status.Service
			if p := percentages(got); p != "v1=90>90 v2=10>10" || st.Lead != "web" || !slices.Equal(st.Members, []string{"web", "web-canary"}) || len(got.Status.Addresses) != 1 {
				return fmt.Errorf("%+v, %s", got.Status, p)
			}
			return nil
		})
		if address := got.Status.Addresses[0].Value; address != "web."+s.namespace+".svc.cluster.local" {
			t.Errorf("the address of %s is %s", name, address)
		}
	}
	if _, err := s.read(children.ServiceKind, "web-canary"); !apierrors.IsNotFound(err) {
		t.Errorf("the canary has another Service: %v", err)
	}
	if !s.selects("web", pod) {
		t.Error("the Service does not select the pod of the canary")
	}
	s.atRest()

	s.podReady(pod, corev1.ConditionFalse)
	s.awaitRoutes("v1")
	for _, name := range []string{"web", "web-canary"} {
		s.awaitMVM(name, want{v1alpha1.ConditionTrafficShifted, yes, v1alpha1.ReasonVersionNotServing})
	}
	s.podReady(pod, corev1.ConditionTrue)
	s.awaitRoutes("v1=90", "v2=10")
	s.eventually("the traffic is not shifted", func() error {
		if c := meta.FindStatusCondition(s.mvm("web").Status.Conditions, string(v1alpha1.ConditionTrafficShifted)); c != nil {
			return fmt.Errorf("%s", c.Message)
		}
		return nil
	})

	// The garbage collector removes the owner that does not exist any more.
	if err := s.Delete(s.Context(), s.mvm("web")); err != nil {
		t.Fatal(err)
	}
	s.awaitRoutes("v2")
	if got := s.awaitOwners("web-canary"); !slices.Equal(got, uids) {
		t.Errorf("the objects were replaced: %q, %q", uids, got)
	}
	s.gone(children.VirtualServiceKind, "web.gateway")
	s.awaitMVM("web-canary", want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.eventually("the Service is not shared", func() error {
		if st := s.mvm("web-canary").Status; st.Service.Name != "" || meta.FindStatusCondition(st.Conditions, string(v1alpha1.ConditionServiceShared)) != nil {
			return fmt.Errorf("%+v", st)
		}
		return nil
	})
}

// TestConflictOfMembers changes percentages and ports of a running canary so that they
// contradict those of the lead. The routes remain, also while another version of the canary
// starts.
func TestConflictOfMembers(t *testing.T) {
	s := start(t)
	s.converge(s.web())
	s.converge(s.sharing("web-canary", "v2", 10))
	s.awaitRoutes("v1=90", "v2=10")
	s.eventually("the status contains the percentages", func() error {
		if got := percentages(s.mvm("web")); got != "v1=90>90 v2=10>10" {
			return fmt.Errorf("%s", got)
		}
		return nil
	})
	s.edit("web", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Service.TrafficPercent = new(int32(95)) })
	got := s.awaitMVM("web-canary", want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonServiceConflict})
	if c := meta.FindStatusCondition(got.Status.Conditions, string(v1alpha1.ConditionAccepted)); !strings.Contains(c.Message, "is 105") {
		t.Errorf("the message is %q", c.Message)
	}
	s.awaitMVM("web", want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitRoutes("v1=90", "v2=10")
	s.edit("web-canary", func(spec *v1alpha1.MeshedVirtualMachineSpec) {
		spec.Service.TrafficPercent = new(int32(5))
		spec.Ports[0].TargetPort = 8081
	})
	s.awaitMVM("web-canary", want{v1alpha1.ConditionAccepted, no, v1alpha1.ReasonServiceConflict})
	s.awaitRoutes("v1=90", "v2=10")
	s.edit("web-canary", func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports[0].TargetPort = 8080 })
	s.awaitMVM("web-canary", want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	s.awaitRoutes("v1=95", "v2=5")
}

// TestLeadTakesOver creates the member with the name of the Service after another one. It
// takes over the objects, which have no label of the Service, as those of an earlier
// version of the operator. It deletes the VirtualService for a gateway, which only the earlier
// lead declares, and, after a pause, that of a member that was deleted with --cascade=orphan.
func TestLeadTakesOver(t *testing.T) {
	s := start(t)
	s.gateway("*")
	s.converge(forGateways(s.sharing("web-b", "v2", 10)))
	uids := s.awaitOwners("web-b")
	s.routeNames("web.gateway", "http")
	s.stop()
	for _, kind := range ofService {
		o, err := s.read(kind, "web")
		if err != nil {
			t.Fatal(err)
		}
		before := o.DeepCopy()
		labels := o.GetLabels()
		delete(labels, v1alpha1.LabelService)
		o.SetLabels(labels)
		if err := s.Patch(s.Context(), o, client.MergeFrom(before)); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Create(s.Context(), s.web()); err != nil {
		t.Fatal(err)
	}
	s.run(nil)
	if got := s.awaitOwners("web", "web-b"); !slices.Equal(got, uids) {
		t.Errorf("the objects were replaced: %q, %q", uids, got)
	}
	s.awaitMVM("web", want{v1alpha1.ConditionServiceReady, yes, v1alpha1.ReasonApplied}, want{v1alpha1.ConditionMeshPolicyApplied, yes, v1alpha1.ReasonApplied})
	s.awaitRoutes("v2") // The guest of the lead has not started.
	s.gone(children.VirtualServiceKind, "web.gateway")
	s.awaitMVM("web-b", want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})

	s.quiet()
	s.stop()
	s.annotate(s.mvm("web"), v1alpha1.AnnotationPaused, "true")
	orphan, err := s.read(children.VirtualServiceKind, "web")
	if err != nil {
		t.Fatal(err)
	}
	labels := orphan.GetLabels()
	labels[v1alpha1.LabelMeshedVirtualMachine] = "web-c"
	spec := orphan.Object["spec"]
	orphan = &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	orphan.SetGroupVersionKind(children.VirtualServiceKind)
	orphan.SetNamespace(s.namespace)
	orphan.SetName("web.gateway")
	orphan.SetLabels(labels)
	if err := s.Create(s.Context(), orphan); err != nil {
		t.Fatal(err)
	}
	s.run(nil)
	s.eventually("the lead reports the VirtualService", func() error {
		return s.conditionContains("web", v1alpha1.ConditionMeshPolicyApplied, "web.gateway is not part of the spec")
	})
	s.annotate(s.mvm("web"), v1alpha1.AnnotationPaused, "false")
	s.gone(children.VirtualServiceKind, "web.gateway")
}

// TestHeadlessLeadOfMembers creates the member with the name of the Service as a headless one.
// The existing Service cannot be changed to headless, so its owner remains the lead.
func TestHeadlessLeadOfMembers(t *testing.T) {
	s := start(t)
	s.converge(s.sharing("web-b", "v2", 10))
	uids := s.awaitOwners("web-b")
	web := s.web()
	web.Spec.Service.Type = v1alpha1.ServiceTypeHeadless
	web.Spec.Ports[0].TargetPort = web.Spec.Ports[0].Port
	if err := s.Create(s.Context(), web); err != nil {
		t.Fatal(err)
	}
	s.eventually("the new member is not accepted", func() error {
		c := meta.FindStatusCondition(s.mvm("web").Status.Conditions, string(v1alpha1.ConditionAccepted))
		if c == nil || c.Reason != string(v1alpha1.ReasonServiceConflict) || !strings.Contains(c.Message, "spec.service.type is Headless, and ClusterIP of web-b") {
			return fmt.Errorf("%+v", c)
		}
		return nil
	})
	s.awaitMVM("web-b", want{v1alpha1.ConditionReady, yes, v1alpha1.ReasonReady})
	if got := s.awaitOwners("web-b"); !slices.Equal(got, uids) {
		t.Errorf("the objects were replaced: %q, %q", uids, got)
	}
}

// TestForeignServiceOfMembers creates two members of a Service that belongs to another
// workload.
func TestForeignServiceOfMembers(t *testing.T) {
	s := start(t)
	foreign := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: "web"},
		Spec:       corev1.ServiceSpec{Selector: map[string]string{"app": "other"}, Ports: []corev1.ServicePort{{Port: 80}}},
	}
	if err := s.Create(s.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	for _, o := range []*v1alpha1.MeshedVirtualMachine{s.sharing("web-a", "v1", 90), s.sharing("web-b", "v2", 10)} {
		if err := s.Create(s.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"web-a", "web-b"} {
		s.awaitMVM(name, want{v1alpha1.ConditionServiceReady, no, v1alpha1.ReasonConflict}, want{v1alpha1.ConditionConflicted, yes, v1alpha1.ReasonConflict},
			want{v1alpha1.ConditionVirtualMachineReady, no, v1alpha1.ReasonNotCreated})
	}
	s.quiet()
	live := &corev1.Service{}
	if err := s.Get(s.Context(), client.ObjectKeyFromObject(foreign), live); err != nil {
		t.Fatal(err)
	}
	if live.ResourceVersion != foreign.ResourceVersion {
		t.Errorf("the Service of another workload was changed: %+v", live)
	}
}
