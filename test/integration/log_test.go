// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/ruleio"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// logLine is a line of the operator's log.
type logLine struct {
	Level   string `json:"level"`
	Message string `json:"msg"`
	Result  string `json:"result"`
	text    string
}

// logged returns the complete lines of the log after the first n bytes.
func (s *suite) logged(n int) []logLine {
	s.Helper()
	var out []logLine
	for text := range strings.Lines(s.log.String()[n:]) {
		l := logLine{text: text}
		if err := json.Unmarshal([]byte(text), &l); err != nil {
			s.Errorf("line of the log %q: %v", text, err)
		}
		out = append(out, l)
	}
	return out
}

// visible returns the lines of a level that is logged by default.
func visible(lines []logLine) (out []logLine) {
	for _, l := range lines {
		if l.Level != "debug" {
			out = append(out, l)
		}
	}
	return out
}

// checkLog fails for lines in which a key occurs twice: a reader of JSON sees only one
// of the values.
func (s *suite) checkLog() {
	s.Helper()
	seen := map[string]bool{}
	for _, l := range s.logged(0) {
		if key := duplicateKey(l.text); key != "" && !seen[l.Message] {
			seen[l.Message] = true
			s.Errorf("the key %q occurs twice in the line %s", key, l.text)
		}
	}
}

// duplicateKey returns a key that occurs twice in a JSON object, if any.
func duplicateKey(object string) string {
	d := json.NewDecoder(strings.NewReader(object))
	if _, err := d.Token(); err != nil {
		return ""
	}
	seen := map[string]bool{}
	for d.More() {
		var value json.RawMessage
		key, err := d.Token()
		if err != nil || d.Decode(&value) != nil {
			return ""
		}
		name := fmt.Sprint(key)
		if seen[name] {
			return name
		}
		seen[name] = true
	}
	return ""
}

// TestLogAtRest checks that the operator logs nothing while nothing is written but
// audits, and that it logs an audit with a finding.
func TestLogAtRest(t *testing.T) {
	s := start(t, every(time.Second))
	o := s.web()
	pod := s.converge(o)
	kernel := s.answerAudits()
	nat := s.awaitCounters(pod, 0)
	s.awaitAudits(kernel, 1)
	atRest := len(s.log.String())
	s.awaitAudits(kernel, 3)
	kernel.become("", ruleio.Counters{Captured: 5})
	s.awaitCounters(pod, 5)
	s.awaitAudits(kernel, 2)
	lines := s.logged(atRest)
	for _, l := range visible(lines) {
		t.Errorf("logged at rest: %s", l.text)
	}
	if len(lines) < 5 { // One line per Job that was created, and one per deleted Job.
		t.Errorf("the audits logged %d lines at the debug level, want at least 5", len(lines))
	}

	kernel.become("the table is missing", ruleio.Counters{})
	s.repair(kernel, nat.UID, ruleio.Counters{})
	s.eventually("the finding is in the log", func() error {
		for _, l := range visible(s.logged(atRest)) {
			if l.Message == "Deleted audit Job" && l.Result == "Drifted" && strings.Contains(l.text, "the table is missing") {
				return nil
			}
		}
		return fmt.Errorf("%s", s.log.String()[atRest:])
	})
}

// TestLogOfALife checks that each write is one line, except for statuses and events.
func TestLogOfALife(t *testing.T) {
	s := start(t)
	o := s.web()
	pod := s.converge(o)
	s.edit(o.Name, func(spec *v1alpha1.MeshedVirtualMachineSpec) { spec.Ports[0].Port = 81 })
	s.quiet()
	if err := s.Delete(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	s.end(pod)
	s.quiet()
	s.eventually("each write is one line", func() error { // The line follows the write.
		writes := s.calls.countWrites(func(resource string) bool { return resource != "events" && !strings.HasSuffix(resource, "/status") })
		var lines []string
		for _, l := range visible(s.logged(0)) {
			// A conflict is an error, and the write is repeated.
			if l.Level == "info" && strings.Contains(l.text, `"reconcileID"`) {
				lines = append(lines, l.text)
			}
		}
		if len(lines) != writes || writes == 0 {
			return fmt.Errorf("%d lines for %d writes:\n%s%s", len(lines), writes, strings.Join(lines, ""), s.calls.table())
		}
		return nil
	})
}

// TestEventsInDeletedNamespaces checks that an event that cannot be written because
// its namespace is deleted is no error.
func TestEventsInDeletedNamespaces(t *testing.T) {
	s := start(t)
	dropped := func(namespace string) {
		t.Helper()
		s.eventually("the event is dropped", func() error {
			for _, l := range s.logged(0) {
				// A child that cannot be created in the namespace is another error.
				if strings.Contains(l.text, namespace) && l.Level == "error" && strings.Contains(l.text, `"logger":"events"`) {
					t.Fatalf("error: %s", l.text)
				}
				if strings.Contains(l.text, namespace) && strings.HasPrefix(l.Message, "Dropped event") {
					return nil
				}
			}
			return fmt.Errorf("%s", s.log)
		})
	}

	// A namespace that is being deleted, with a PodNATConfiguration whose pod ends.
	pod := s.converge(s.web())
	if err := s.Delete(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: s.namespace}}); err != nil {
		t.Fatal(err)
	}
	s.end(pod)
	dropped(s.namespace)

	// A namespace that does not exist, with an object that was left behind.
	s.stop()
	gone := s.namespace + "-gone"
	s.makeNamespace(gone)
	left := s.web()
	left.Namespace = gone
	left.Spec.VirtualMachine.Template.ObjectMeta.Labels = map[string]string{v1alpha1.LabelVersion: "another"}
	if err := s.Create(t.Context(), left); err != nil {
		t.Fatal(err)
	}
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: gone}}
	if err := s.Get(t.Context(), client.ObjectKeyFromObject(ns), ns); err != nil {
		t.Fatal(err)
	}
	ns.Spec.Finalizers = nil
	if err := s.SubResource("finalize").Update(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	if err := s.Delete(t.Context(), ns); err != nil {
		t.Fatal(err)
	}
	s.run(nil)
	dropped(gone)
	if err := s.Delete(t.Context(), left); err != nil {
		t.Fatal(err)
	}
}
