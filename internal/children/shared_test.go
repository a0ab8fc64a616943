// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/meshservice"
)

// percent returns a change of a member with another version and a percentage.
func percent(p int32) func(*v1alpha1.MeshedVirtualMachine) {
	return func(mvm *v1alpha1.MeshedVirtualMachine) { mvm.Spec.Service.TrafficPercent = &p }
}

// replica gives a member the version of the lead.
func replica(mvm *v1alpha1.MeshedVirtualMachine) { mvm.Spec.Version = "v1" }

// alsoHeadless gives a member of a headless Service its type.
func alsoHeadless(mvm *v1alpha1.MeshedVirtualMachine) {
	mvm.Spec.Service.Type = v1alpha1.ServiceTypeHeadless
}

// sharing returns the input for the lead of a Service. Each change makes another member,
// and a nil change leaves the member before it without a pod.
func sharing(lead *b.MVMBuilder, changes ...func(*v1alpha1.MeshedVirtualMachine)) children.Input {
	members := []meshservice.Member{member(lead.Obj())}
	for i, change := range changes {
		if change == nil {
			members[len(members)-1].Pods = nil
			continue
		}
		mvm := lead.Obj()
		mvm.Name, mvm.UID = fmt.Sprintf("web-%d", i+2), b.UID("mvm", fmt.Sprintf("web-%d", i+2))
		mvm.Spec.Service = v1alpha1.ServiceSpec{Name: "web"}
		mvm.Spec.Version = fmt.Sprintf("v%d", i+2)
		change(mvm)
		members = append(members, member(mvm))
	}
	return membersInput(members)
}

// sharedAt is the time at which the shares of the versions are computed.
var sharedAt = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// member returns a member of a Service whose guest has served for an hour.
func member(mvm *v1alpha1.MeshedVirtualMachine) meshservice.Member {
	pod := b.LauncherPod(b.VMI(mvm.Name).Obj(), "abcde").Node("node-1").IP("10.244.0.8").Obj()
	pod.Labels[v1alpha1.LabelService], pod.Labels[v1alpha1.LabelVersion] = mvm.ServiceName(), mvm.Spec.VersionOrDefault()
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(sharedAt.Add(-time.Hour))}}
	return meshservice.Member{MVM: mvm, Pods: []corev1.Pod{*pod}, Programmed: map[string]bool{pod.Name: true}}
}

// membersInput returns the input for the lead of a Service, which is the first member.
func membersInput(members []meshservice.Member) children.Input {
	lead := members[0]
	service := meshservice.Compute(lead.MVM.ServiceName(), members, sharedAt)
	return children.Input{MVM: lead.MVM, VMI: b.VMI(lead.MVM.Name).Obj(), LauncherPods: lead.Pods, Service: &service}
}

// sharedCases are the golden files of guests that share a Service.
func sharedCases() map[string]children.Input {
	return map[string]children.Input{
		// Ports with TLS and via Direct are not split.
		"canary": sharing(b.MVM("web").Ports(b.HTTP("http", 80, 8080), b.TCP("db", 5432), b.TLS("tls", 443, 8443), b.Direct("ssh", 22)).Timeout("http", "5s"),
			percent(10)),
		// A route without a destination gets the percentages, also for gateways.
		"canary with routes":   sharing(b.MVM("web").Hosts("shop.example.com").Gateways("public").HTTPRoutes(b.HTTPRoute(`{match: [{uri: {prefix: /slow}}], timeout: 5s}`)), percent(10)),
		"canary without a pod": sharing(b.MVM("web"), percent(10), nil),
		"blue and green":       sharing(b.MVM("web"), percent(100)),
		"three members":        sharing(b.MVM("web"), percent(20), percent(20)),
		"replicas":             sharing(b.MVM("web"), replica),
		"headless canary":      sharing(b.MVM("web").ServiceType(v1alpha1.ServiceTypeHeadless).Ports(b.HTTP("http", 8080, 8080)), alsoHeadless),
	}
}

// otherMembers returns the objects and the pods of the other members of a Service.
func otherMembers(t *testing.T, in children.Input) (objects, pods []children.Object) {
	t.Helper()
	if in.Service == nil {
		return nil, nil
	}
	for _, m := range in.Service.Members[1:] {
		all, err := children.Desired(children.Input{MVM: m.MVM, VMI: b.VMI(m.MVM.Name).Obj(), LauncherPods: m.Pods, Service: in.Service})
		if err != nil {
			t.Fatal(err)
		}
		pods = append(pods, guestPods(all, m.Pods)...)
		objects = append(objects, slices.DeleteFunc(all, func(o children.Object) bool {
			return children.IsOfService(o.GetObjectKind().GroupVersionKind().GroupKind())
		})...)
	}
	return objects, pods
}

// TestMembersAgree checks that the objects of a Service are the same for each of its members.
func TestMembersAgree(t *testing.T) {
	in := sharing(b.MVM("web"), percent(10), replica)
	for _, m := range in.Service.Members {
		other := children.Input{MVM: m.MVM, LauncherPods: m.Pods, Service: in.Service}
		a, err := children.Desired(in)
		if err != nil {
			t.Fatal(err)
		}
		got, err := children.Desired(other)
		if err != nil {
			t.Fatal(err)
		}
		for i := range a {
			kind := a[i].GetObjectKind().GroupVersionKind().GroupKind()
			if !children.IsOfService(kind) {
				continue
			}
			golden := fmt.Sprint(content(t, a[i]).Object)
			if other := fmt.Sprint(content(t, got[i]).Object); other != golden {
				t.Errorf("%s of member %s: %s\nof the lead: %s", kind, m.MVM.Name, other, golden)
			}
			if refs := a[i].GetOwnerReferences(); len(refs) != 3 || !metav1.IsControlledBy(a[i], in.MVM) {
				t.Errorf("the owners of %s are %v", kind, refs)
			}
		}
	}
}

// TestSharedSelector checks which pods a Service with two members selects.
func TestSharedSelector(t *testing.T) {
	selector := func(in children.Input) labels.Selector {
		objects, err := children.Desired(in)
		if err != nil {
			t.Fatal(err)
		}
		service, ok := objects[0].(*corev1.Service)
		if !ok {
			t.Fatalf("the first object is a %T", objects[0])
		}
		return labels.SelectorFromSet(service.Spec.Selector)
	}
	in := sharing(b.MVM("web"), percent(10))
	lead, canary := &in.Service.Members[0].Pods[0], &in.Service.Members[1].Pods[0]
	for _, p := range []*corev1.Pod{lead, canary} {
		if !selector(in).Matches(labels.Set(p.Labels)) {
			t.Errorf("%s does not select %s", selector(in), p.Name)
		}
	}
	// An earlier version of the operator started the guest of the lead.
	delete(lead.Labels, v1alpha1.LabelService)
	if s := selector(in); !s.Matches(labels.Set(lead.Labels)) || s.Matches(labels.Set(canary.Labels)) {
		t.Errorf("%s does not select the lead alone", s)
	}
}

// TestFollowPercentages moves the traffic of a canary whose lead is not accepted.
func TestFollowPercentages(t *testing.T) {
	both := sharing(b.MVM("web"), percent(10))
	before, after := istio(t, both), sharing(b.MVM("web"), percent(10), nil)
	for _, v := range both.Service.Versions {
		after.Service.Lead().Status.Service.Versions = append(after.Service.Lead().Status.Service.Versions,
			v1alpha1.ServiceVersionStatus{Version: v.Name, EffectivePercent: new(v.Effective)})
	}
	wanted := istio(t, after)
	for kind, live := range before {
		o, err := children.FollowVersions(after, live)
		if err != nil {
			t.Fatal(err)
		}
		if changed := o != nil; changed != strings.HasPrefix(kind, "VirtualService/") {
			t.Errorf("%s changed: %t", kind, changed)
			continue
		}
		if o == nil {
			continue
		}
		if diff := cmp.Diff(wanted[kind].Object["spec"], content(t, o).Object["spec"]); diff != "" {
			t.Errorf("%s (-accepted +followed):\n%s", kind, diff)
		}
	}
}
