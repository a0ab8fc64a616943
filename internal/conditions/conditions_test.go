// SPDX-License-Identifier: Apache-2.0

package conditions

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"

	"meshvm.io/meshvm/api/v1alpha1"
)

func TestEnumerate(t *testing.T) {
	identity := func(s string) string { return s }
	for want, items := range map[string][]string{"": nil, "a, b": {"a", "b"}, "a, b, and 2 more": {"a", "b", "c", "d"}} {
		if got := Enumerate(items, 2, ", ", identity); got != want {
			t.Errorf("%v: got %q, want %q", items, got, want)
		}
	}
}

func TestMerge(t *testing.T) {
	before := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	existing := []metav1.Condition{
		{Type: "Accepted", Status: metav1.ConditionTrue, Reason: "Accepted", Message: "m", ObservedGeneration: 1, LastTransitionTime: before},
		{Type: "Stalled", Status: metav1.ConditionTrue, Reason: "X", ObservedGeneration: 1, LastTransitionTime: before},
		{Type: "Ready", Status: metav1.ConditionTrue, Reason: "Ready", ObservedGeneration: 1, LastTransitionTime: before},
	}
	got := Merge(existing, 2,
		True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "m"),
		False(v1alpha1.ConditionReady, v1alpha1.ReasonPending, strings.Repeat("é", maxMessage+5)))
	if len(got) != 2 {
		t.Fatalf("got %d conditions, want Accepted and Ready: conditions that are not wanted must be removed", len(got))
	}
	want := existing[0]
	want.ObservedGeneration = 2
	if diff := cmp.Diff(want, got[0]); diff != "" {
		t.Errorf("the transition time of an unchanged condition is %s", diff)
	}
	if got[1].LastTransitionTime == before || got[1].Status != metav1.ConditionFalse {
		t.Errorf("a transition kept its old time: %+v", got[1])
	}
	if n := len([]rune(got[1].Message)); n != maxMessage {
		t.Errorf("message has %d runes, want %d", n, maxMessage)
	}
	if existing[0].ObservedGeneration != 1 {
		t.Error("Merge changed its argument")
	}
}

// TestUnchanged checks that a condition that was not computed is the same after a merge.
func TestUnchanged(t *testing.T) {
	earlier := metav1.NewTime(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	existing := []metav1.Condition{{Type: "Conflicted", Status: metav1.ConditionTrue, Reason: "Conflict", Message: "m", ObservedGeneration: 1, LastTransitionTime: earlier}}
	c, ok := Unchanged(existing, v1alpha1.ConditionConflicted)
	if diff := cmp.Diff(existing, Merge(existing, 2, c)); !ok || diff != "" {
		t.Errorf("present: %t (-want +got):\n%s", ok, diff)
	}
	if c, ok := Unchanged(existing, v1alpha1.ConditionStrayGuests); ok {
		t.Errorf("a condition that did not exist is %+v", c)
	}
}

func TestSummarize(t *testing.T) {
	good := True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, "fine")
	bad := False(v1alpha1.ConditionProgrammed, v1alpha1.ReasonWriteFailed, "why")
	unknown := Unknown(v1alpha1.ConditionServiceReady, v1alpha1.ReasonPending, "not yet")
	tests := map[string]struct {
		all     []Condition
		outlook Progress
		want    []string
	}{
		"all true":                         {[]Condition{good}, InProgress, []string{"Accepted=True", "Ready=True/Ready"}},
		"all true, only True is allowed":   {[]Condition{good}, Stalled, []string{"Accepted=True", "Ready=True/Ready"}},
		"first condition that is not True": {[]Condition{good, unknown, bad}, InProgress, []string{"Ready=False/Pending", "Reconciling=True/Progressing"}},
		"stuck":                            {[]Condition{good, bad}, Stalled, []string{"Ready=False/WriteFailed", "Stalled=True/WriteFailed"}},
		"resting":                          {[]Condition{bad}, Idle, []string{"Ready=False/WriteFailed"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			got := Summarize(tc.all, tc.outlook)
			var text []string
			for _, c := range got {
				text = append(text, string(c.Type)+"="+string(c.Status)+"/"+string(c.Reason))
			}
			all := strings.Join(text, " ")
			for _, w := range tc.want {
				if !strings.Contains(all, w) {
					t.Errorf("%s is missing in %s", w, all)
				}
			}
			_, reconciling := Find(got, v1alpha1.ConditionReconciling)
			_, stalled := Find(got, v1alpha1.ConditionStalled)
			if reconciling && stalled {
				t.Error("both Reconciling and Stalled")
			}
		})
	}
}

// TestRecord: what appears for the first time is an event when it is bad news.
func TestRecord(t *testing.T) {
	for name, want := range map[v1alpha1.ConditionType]string{
		v1alpha1.ConditionStartNotHeld:    "Warning GateMissing",
		v1alpha1.ConditionRestartRequired: "Warning RestartRequired",
		v1alpha1.ConditionPaused:          "",
		v1alpha1.ConditionReconciling:     "",
	} {
		recorder := events.NewFakeRecorder(4)
		reason := v1alpha1.ConditionReason(strings.TrimPrefix(want, "Warning "))
		Record(recorder, &v1alpha1.MeshedVirtualMachine{}, nil, Merge(nil, 1, True(name, reason, "m")))
		select {
		case got := <-recorder.Events:
			if want == "" || !strings.HasPrefix(got, want) {
				t.Errorf("%s: event %q, want %q", name, got, want)
			}
		default:
			if want != "" {
				t.Errorf("%s: no event", name)
			}
		}
	}
}

// TestRecordOnce: conditions that change for the same reason emit one event.
func TestRecordOnce(t *testing.T) {
	const invalid, conflict = v1alpha1.ReasonInvalidPort, v1alpha1.ReasonConflict
	good := Merge(nil, 1, True(v1alpha1.ConditionAccepted, v1alpha1.ReasonAccepted, ""), True(v1alpha1.ConditionServiceReady, v1alpha1.ReasonApplied, ""),
		True(v1alpha1.ConditionReady, v1alpha1.ReasonReady, ""))
	rejected := Merge(nil, 1, False(v1alpha1.ConditionAccepted, invalid, "port"), False(v1alpha1.ConditionReady, invalid, "port"), True(v1alpha1.ConditionStalled, invalid, "port"))
	conflicted := Merge(nil, 1, False(v1alpha1.ConditionServiceReady, conflict, "web"), True(v1alpha1.ConditionStalled, conflict, "web"), True(v1alpha1.ConditionConflicted, conflict, "web"))
	tests := map[string]struct {
		before, after []metav1.Condition
		want          []string
	}{
		"a new object is rejected":    {nil, rejected, []string{"Warning InvalidPort Accepted is False: port"}},
		"an edit is rejected":         {good, rejected, []string{"Warning InvalidPort Accepted is False: port"}},
		"nothing changed":             {rejected, rejected, nil},
		"the order of the list":       {nil, Merge(nil, 1, True(v1alpha1.ConditionStalled, invalid, "port"), False(v1alpha1.ConditionAccepted, invalid, "port")), []string{"Warning InvalidPort Accepted is False: port"}},
		"a conflict of a new object":  {nil, conflicted, []string{"Warning Conflict Conflicted is True: web"}},
		"a conflict":                  {good, conflicted, []string{"Warning Conflict Conflicted is True: web"}},
		"a condition that is not bad": {good, Merge(nil, 1, False(v1alpha1.ConditionServiceReady, conflict, "web"), True(v1alpha1.ConditionStalled, conflict, "web")), []string{"Warning Conflict ServiceReady is False: web"}},
		"two causes":                  {nil, Merge(nil, 1, False(v1alpha1.ConditionAccepted, invalid, "port"), True(v1alpha1.ConditionStartNotHeld, v1alpha1.ReasonGateMissing, "gate")), []string{"Warning InvalidPort Accepted is False: port", "Warning GateMissing StartNotHeld is True: gate"}},
		"the cause was removed":       {rejected, good, []string{"Normal Accepted Accepted is True: ", "Normal Ready Ready is True: "}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			recorder := events.NewFakeRecorder(8)
			Record(recorder, &v1alpha1.MeshedVirtualMachine{}, tc.before, tc.after)
			close(recorder.Events)
			var got []string
			for e := range recorder.Events {
				got = append(got, e)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}
