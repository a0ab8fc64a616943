// SPDX-License-Identifier: Apache-2.0

package meshedvirtualmachine

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/apply"
	"meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/meshservice"
)

// shared returns the scope of a MeshedVirtualMachine that shares the Service web with
// another. The change is applied before the state of the Service is computed.
func shared(lead bool, change func(own, other *meshservice.Member)) *scope {
	s := world(func(*scope) {})
	other := meshservice.Member{MVM: builders.MVM("web-2").Version("v2").Service(v1alpha1.ServiceSpec{Name: "web"}).Obj()}
	if !lead {
		other.MVM.Name, s.mvm.Name, s.mvm.Spec.Service.Name = "web", "web-2", "web"
	}
	other.MVM.Spec.Ports = s.mvm.DeepCopy().Spec.Ports
	own := s.member()
	change(&own, &other)
	s.service = meshservice.Compute("web", []meshservice.Member{own, other}, time.Now())
	s.serviceKnown = true
	return s
}

func TestServiceShared(t *testing.T) {
	unchanged := func(_, _ *meshservice.Member) {}
	for name, tc := range map[string]struct {
		lead   bool
		change func(own, other *meshservice.Member)
		want   string
	}{
		"lead":   {true, unchanged, "web, web-2 share Service web, and web is the lead, whose settings apply"},
		"member": {false, unchanged, "web, web-2 share Service web, and web is the lead, whose settings apply"},
		"without effect": {
			false, func(own, _ *meshservice.Member) { own.MVM.Spec.Mesh.ExportTo = []string{"."} },
			"no effect here, because the lead has other values: mesh.exportTo",
		},
		"not split": {true, func(own, other *meshservice.Member) {
			for _, m := range []*meshservice.Member{own, other} {
				m.MVM.Spec.Ports = []v1alpha1.Port{builders.HTTP("http", 80, 8080), builders.TLS("tls", 443, 8443)}
			}
		}, "these ports is distributed by the number of pods: tls"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shared(tc.lead, tc.change)
			c, present := s.serviceShared()
			if !present || !strings.Contains(c.Message, tc.want) {
				t.Errorf("present: %t, message %q, want %q", present, c.Message, tc.want)
			}
			if st := s.sharedService(); st.Lead != "web" || len(st.Members) != 2 || len(st.Versions) != 2 {
				t.Errorf("the status is %+v", st)
			}
			if s.leads() != tc.lead {
				t.Errorf("it is the lead: %t", s.leads())
			}
		})
	}
	alone := world(func(s *scope) { s.serviceKnown = true })
	if _, present := alone.serviceShared(); present || !alone.leads() || alone.sharedService().Name != "" {
		t.Error("a Service of one MeshedVirtualMachine is shared")
	}
}

// TestOldest checks whose guests are read for the state of a Service.
func TestOldest(t *testing.T) {
	list := []v1alpha1.MeshedVirtualMachine{*builders.MVM("young").Obj(), *builders.MVM("deleted").Obj()}
	for i := range list {
		list[i].CreationTimestamp = metav1.Unix(int64(2-i), 0)
	}
	list[1].DeletionTimestamp = new(metav1.Unix(1, 0))
	for i := range meshservice.Limit {
		mvm := builders.MVM(fmt.Sprintf("m%d", i)).Obj()
		mvm.CreationTimestamp = metav1.Unix(1, 0)
		list = append(list, *mvm)
	}
	got := oldest(list)
	if len(got) != meshservice.Limit || slices.ContainsFunc(got, func(m *v1alpha1.MeshedVirtualMachine) bool { return m.Name == "young" || m.Name == "deleted" }) {
		t.Errorf("%d members, of which one is the youngest or is being deleted", len(got))
	}
	if got := oldest(list[:2]); len(got) != 1 || got[0].Name != "young" {
		t.Errorf("%d members of a small Service", len(got))
	}
}

// TestWriter checks what a member reports about an object that the lead has not written.
func TestWriter(t *testing.T) {
	condition := func(c v1alpha1.ConditionType) func(_, other *meshservice.Member) {
		return func(_, other *meshservice.Member) {
			other.MVM.Status.Conditions = []metav1.Condition{{Type: string(c), Status: metav1.ConditionFalse, Message: "the reason"}}
		}
	}
	for name, tc := range map[string]struct {
		change func(own, other *meshservice.Member)
		want   string
	}{
		"soon": {func(_, _ *meshservice.Member) {}, "MeshedVirtualMachine web, the lead of Service web, writes it"},
		"paused": {func(_, other *meshservice.Member) {
			other.MVM.Annotations = map[string]string{v1alpha1.AnnotationPaused: "true"}
		}, "has the annotation meshvm.io/paused"},
		"error":               {condition(v1alpha1.ConditionServiceReady), "its condition ServiceReady is False: the reason"},
		"not accepted":        {condition(v1alpha1.ConditionAccepted), "its condition Accepted is False: the reason"},
		"error of other kind": {condition(v1alpha1.ConditionMeshPolicyApplied), "the lead of Service web, writes it"},
	} {
		t.Run(name, func(t *testing.T) {
			s := shared(false, tc.change)
			objects, err := children.Desired(children.Input{MVM: s.mvm, Service: s.sharedState()})
			if err != nil {
				t.Fatal(err)
			}
			if got := s.writer(objects[0]); !strings.HasSuffix(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

// TestAwaitsLead checks what a member does while the Service, which the lead writes, is not
// the desired one, for example because the lead is paused.
func TestAwaitsLead(t *testing.T) {
	outOfDate := outOfDateError("Service shop/web differs from the desired state")
	for name, tc := range map[string]struct {
		lead, absent    bool
		failed          schema.GroupVersionKind
		err             error
		prunes, blocked bool
	}{
		"the Service differs":        {false, false, children.ServiceKind, outOfDate, true, false},
		"the Service does not exist": {false, true, children.ServiceKind, outOfDate, true, true},
		"the Service is foreign":     {false, true, children.ServiceKind, apply.ErrConflict, false, true},
		"a policy differs":           {false, false, children.PeerAuthenticationKind, outOfDate, false, true},
		"of the lead itself":         {true, false, children.ServiceKind, outOfDate, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			s := shared(tc.lead, func(_, _ *meshservice.Member) {})
			s.vmi, s.failures[key(tc.failed)] = nil, tc.err
			if tc.absent {
				delete(s.children, key(tc.failed))
			}
			if got := slices.Contains(s.toPrune(), children.SidecarKind); got != tc.prunes {
				t.Errorf("it prunes: %t", got)
			}
			(&Reconciler{}).applierFor(s, vmKey(s.mvm))
			if s.vmBlocked != tc.blocked {
				t.Errorf("the VirtualMachine is blocked: %t", s.vmBlocked)
			}
		})
	}
}

func TestHasRules(t *testing.T) {
	condition := func(status metav1.ConditionStatus, reason v1alpha1.ConditionReason) []metav1.Condition {
		return []metav1.Condition{{Type: string(v1alpha1.ConditionProgrammed), Status: status, Reason: string(reason)}}
	}
	for name, tc := range map[string]struct {
		digest     string
		conditions []metav1.Condition
		want       bool
	}{
		"verified":        {"d", condition(metav1.ConditionTrue, v1alpha1.ReasonProgrammed), true},
		"change":          {"d", condition(metav1.ConditionFalse, v1alpha1.ReasonProgramming), true},
		"first rules":     {"", condition(metav1.ConditionFalse, v1alpha1.ReasonProgramming), false},
		"lost":            {"d", condition(metav1.ConditionFalse, v1alpha1.ReasonDrifted), false},
		"not reconciled":  {"", nil, false},
		"never confirmed": {"d", nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			nat := &v1alpha1.PodNATConfiguration{}
			nat.Status.Applied.Digest, nat.Status.Conditions = tc.digest, tc.conditions
			if got := hasRules(nat); got != tc.want {
				t.Errorf("it has rules: %t", got)
			}
		})
	}
}

// TestNotSelected checks the message about a pod that was started without the label of a
// shared Service.
func TestNotSelected(t *testing.T) {
	for _, tc := range []struct {
		lead bool
		want string
	}{{true, "selects this guest alone"}, {false, "does not select it"}} {
		s := shared(tc.lead, func(_, _ *meshservice.Member) {})
		for i := range s.pods {
			delete(s.pods[i].Labels, v1alpha1.LabelService)
		}
		if got := s.notSelected(); !strings.Contains(got, tc.want) {
			t.Errorf("lead %t: got %q, want %q", tc.lead, got, tc.want)
		}
	}
}
