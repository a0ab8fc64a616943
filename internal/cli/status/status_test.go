// SPDX-License-Identifier: Apache-2.0

package status

import (
	stdcmp "cmp"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kubevirtv1 "kubevirt.io/api/core/v1"

	"meshvm.io/meshvm/api/v1alpha1"
	b "meshvm.io/meshvm/internal/builders"
)

var update = flag.Bool("update", false, "write the golden files")

var since = metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))

// withConditions returns a machine with the conditions of a machine that is Ready, and
// with changes to them.
func withConditions(changes ...metav1.Condition) *v1alpha1.MeshedVirtualMachine {
	mvm := b.MVM("web").Namespace("shop").Ports(b.HTTP("http", 80, 8080), b.Direct("ssh", 22)).Obj()
	mvm.Generation, mvm.Status.ObservedGeneration = 3, 3
	mvm.Status.MTLS = v1alpha1.MTLSStatus{DeclaredMode: v1alpha1.MTLSModeStrict, EffectiveMode: v1alpha1.MTLSModeStrict}
	all := []metav1.Condition{condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonReady, "")}
	reasons := map[v1alpha1.ConditionType]v1alpha1.ConditionReason{
		v1alpha1.ConditionVirtualMachineReady: v1alpha1.ReasonRunning, v1alpha1.ConditionNATProgrammed: v1alpha1.ReasonProgrammed,
	}
	for _, t := range summarized {
		all = append(all, condition(t, metav1.ConditionTrue, stdcmp.Or(reasons[t], v1alpha1.ReasonApplied), ""))
	}
	for _, c := range changes {
		if i := slices.IndexFunc(all, func(o metav1.Condition) bool { return o.Type == c.Type }); i >= 0 {
			all[i] = c
		} else {
			all = append(all, c)
		}
		if c.Status != metav1.ConditionTrue && slices.Contains(summarized, v1alpha1.ConditionType(c.Type)) {
			all[0] = condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ConditionReason(c.Reason), c.Message)
		}
	}
	mvm.Status.Conditions = all
	return mvm
}

func condition(t v1alpha1.ConditionType, s metav1.ConditionStatus, r v1alpha1.ConditionReason, message string) metav1.Condition {
	return metav1.Condition{Type: string(t), Status: s, Reason: string(r), Message: message, ObservedGeneration: 3, LastTransitionTime: since}
}

// running returns the objects of a machine whose guest runs.
func running(mvm *v1alpha1.MeshedVirtualMachine) observed {
	vmi := b.VMI("web").Namespace("shop").Phase(kubevirtv1.Running).Node("node-1").Obj()
	pod := b.LauncherPod(vmi, "abcde").Node("node-1").IP("10.244.0.8").Phase(corev1.PodRunning).Condition(corev1.PodReady, true).Obj()
	nat := b.PodNAT("web-0123456789", pod).Obj()
	nat.Status = v1alpha1.PodNATConfigurationStatus{
		Conditions: []metav1.Condition{condition(v1alpha1.ConditionProgrammed, metav1.ConditionTrue, v1alpha1.ReasonProgrammed, "")},
		Applied:    v1alpha1.AppliedRules{Digest: strings.Repeat("ab12", 16), Rules: 31},
		Repairs:    v1alpha1.RepairsStatus{Count: 2, LastReason: v1alpha1.ReasonDrifted},
		Job:        "web-0123456789-1",
		Attempts:   1,
	}
	mvm.Status.Pods = []v1alpha1.PodStatus{{UID: pod.UID, Name: pod.Name, Node: "node-1", Role: v1alpha1.PodRoleActive, Start: v1alpha1.PodStartReleased, Programmed: metav1.ConditionTrue}}
	rule := v1alpha1.RelatedObject{APIVersion: "networking.istio.io/v1", Kind: "DestinationRule", Name: "web"}
	auth := v1alpha1.RelatedObject{APIVersion: "security.istio.io/v1", Kind: "PeerAuthentication", Name: "web"}
	mvm.Status.RelatedObjects = []v1alpha1.RelatedObject{{APIVersion: "v1", Kind: "Service", Name: "web"}, rule, auth}
	vm := &kubevirtv1.VirtualMachine{}
	vm.Status.PrintableStatus = kubevirtv1.VirtualMachineStatusRunning
	service := &corev1.Service{Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Name: "http", Port: 80, Protocol: corev1.ProtocolTCP}},
	}}
	return observed{
		mvm: mvm, vm: vm, vmi: vmi, pods: []corev1.Pod{*pod}, nats: []v1alpha1.PodNATConfiguration{*nat}, service: service,
		endpoints: []discoveryv1.EndpointSlice{{Endpoints: []discoveryv1.Endpoint{{
			Addresses: []string{"10.244.0.8"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Name: pod.Name},
		}}}},
		related: map[v1alpha1.RelatedObject]presence{rule: present, auth: missing},
	}
}

func TestTextGolden(t *testing.T) {
	paused := withConditions(
		condition(v1alpha1.ConditionServiceReady, metav1.ConditionFalse, v1alpha1.ReasonOutOfDate, "paused by the annotation meshvm.io/paused; remove it to resume: the ports differ"),
		condition(v1alpha1.ConditionPaused, metav1.ConditionTrue, v1alpha1.ReasonPaused, "reconciliation is suspended while the annotation meshvm.io/paused is set"))
	starting := withConditions(
		condition(v1alpha1.ConditionVirtualMachineReady, metav1.ConditionFalse, v1alpha1.ReasonStarting, "the guest waits for its rules"),
		condition(v1alpha1.ConditionNATProgrammed, metav1.ConditionFalse, v1alpha1.ReasonWriteFailed, "the rule-writer failed"))
	outdated := withConditions()
	outdated.Generation = 4
	created := b.MVM("new").Namespace("shop").Obj()
	created.Generation = 1
	hidden := running(withConditions())
	hidden.vm, hidden.vmi, hidden.related = nil, nil, map[v1alpha1.RelatedObject]presence{}
	for _, r := range hidden.mvm.Status.RelatedObjects {
		hidden.related[r] = unknown
	}
	hidden.unreadable = []string{"DestinationRule", "VirtualMachine", "VirtualMachineInstance"}
	restart := withConditions(condition(v1alpha1.ConditionRestartRequired, metav1.ConditionTrue, v1alpha1.ReasonRestartRequired, "memory differs"))
	for name, r := range map[string]Result{
		"ready":    single(machine(running(withConditions()))),
		"hidden":   single(machine(hidden)),
		"restart":  single(machine(running(restart))),
		"paused":   single(machine(running(paused))),
		"starting": single(machine(observed{mvm: starting})),
		"outdated": single(machine(observed{mvm: outdated})),
		"created":  single(machine(observed{mvm: created})),
		"list":     several("", []Machine{summary(withConditions()), summary(paused), summary(restart), summary(created)}),
		"empty":    several("shop", nil),
		"all":      several("shop", []Machine{summary(withConditions())}),
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join("testdata", name+".golden")
			got := r.Text()
			if again := viaJSON(t, r).Text(); again != got {
				t.Errorf("the text from JSON differs:\n%s", cmp.Diff(got, again))
			}
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("run go test -update and read the difference:\n%s", diff)
			}
		})
	}
}

// viaJSON writes a result to JSON and reads it.
func viaJSON(t *testing.T, r Result) (again Result) {
	t.Helper()
	out, err := json.Marshal(r)
	if err == nil {
		err = json.Unmarshal(out, &again)
	}
	if err != nil {
		t.Fatal(err)
	}
	return again
}

// TestDeletion checks the blocker of a machine that is being deleted.
func TestDeletion(t *testing.T) {
	mvm := withConditions()
	mvm.DeletionTimestamp = &since
	mvm.Status.Conditions[0] = condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonTerminating, "waiting for the VirtualMachine")
	if got := summary(mvm); got.AsDeclared || got.Blocker.Message != "waiting for the VirtualMachine" || got.Blocker.Turn != TurnCluster {
		t.Errorf("the blocker is %+v", got.Blocker)
	}
}

// TestEveryReasonHasATurn fails for a reason of the API that no list of turn.go contains,
// or that several contain.
func TestEveryReasonHasATurn(t *testing.T) {
	listed := map[v1alpha1.ConditionReason]int{}
	for _, r := range fulfilled {
		listed[r]++
	}
	for _, reasons := range turns {
		for _, r := range reasons {
			listed[r]++
		}
	}
	files, err := filepath.Glob(filepath.Join("..", "..", "..", "api", "v1alpha1", "*.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(parsed, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok {
				return true
			}
			if typ, ok := spec.Type.(*ast.Ident); ok && typ.Name == "ConditionReason" {
				value, _ := spec.Values[0].(*ast.BasicLit)
				if reason := strings.Trim(value.Value, `"`); listed[v1alpha1.ConditionReason(reason)] != 1 {
					t.Errorf("reason %s is in %d lists of turn.go, want one", reason, listed[v1alpha1.ConditionReason(reason)])
				}
			}
			return true
		})
	}
}

// TestRestartOfAdoptedMachine checks that the command names the VirtualMachine.
func TestRestartOfAdoptedMachine(t *testing.T) {
	m := Machine{Namespace: "shop", Name: "database", VirtualMachineName: "db"}
	if got, want := next(m), "virtctl -n shop restart db"; got != want {
		t.Errorf("next command %q, want %q", got, want)
	}
}
