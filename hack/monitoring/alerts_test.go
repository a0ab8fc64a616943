// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/util/annotations"
	"go.yaml.in/yaml/v3"
)

const (
	manifest = "../../config/monitoring/rules.yaml"
	runbooks = "../../docs/runbooks"
	// runbookURL is the address at which a release publishes the runbooks
	// (docs/releasing.md).
	runbookURL = "https://meshvm.io/meshvm/docs/runbooks/"
)

var promQL = parser.NewParser(parser.Options{})

// rules returns the rules of the manifest. Prometheus' parser checks
// expressions, names and templates.
func rules(t *testing.T) []rulefmt.Rule {
	t.Helper()
	raw, err := os.ReadFile(manifest)
	if err != nil {
		t.Fatal(err)
	}
	var object struct {
		Spec yaml.Node `yaml:"spec"`
	}
	if err := yaml.Unmarshal(raw, &object); err != nil {
		t.Fatal(err)
	}
	spec, err := yaml.Marshal(&object.Spec)
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(spec, false, model.UTF8Validation, promQL, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if t.Failed() {
		t.FailNow()
	}
	var all []rulefmt.Rule
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// TestConventions checks that each alert follows the conventions of OpenShift
// (openshift/enhancements, monitoring/alerting-consistency.md), has KubeVirt's
// labels, and has a runbook with the four usual parts.
func TestConventions(t *testing.T) {
	named := map[string]bool{"README.md": true}
	for _, r := range rules(t) {
		if !strings.HasPrefix(r.Alert, "MeshVM") {
			t.Errorf("%s: name does not have the prefix MeshVM", r.Alert)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s: invalid severity %q", r.Alert, r.Labels["severity"])
		}
		for _, l := range []string{"kubernetes_operator_part_of", "kubernetes_operator_component", "operator_health_impact"} {
			if r.Labels[l] == "" {
				t.Errorf("%s: label %s is missing", r.Alert, l)
			}
		}
		for _, a := range []string{"summary", "description", "runbook_url"} {
			if r.Annotations[a] == "" {
				t.Errorf("%s: annotation %s is missing", r.Alert, a)
			}
		}
		file := r.Alert + ".md"
		if got := r.Annotations["runbook_url"]; got != runbookURL+file {
			t.Errorf("%s: runbook_url is %s, want %s", r.Alert, got, runbookURL+file)
		}
		named[file] = true
		text, err := os.ReadFile(filepath.Join(runbooks, file))
		if err != nil {
			t.Error(err)
			continue
		}
		for _, heading := range []string{"# " + r.Alert, "## Meaning", "## Impact", "## Diagnosis", "## Mitigation"} {
			if !bytes.Contains(text, []byte(heading+"\n")) {
				t.Errorf("%s: heading %q is missing", file, heading)
			}
		}
	}
	entries, err := os.ReadDir(runbooks)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !named[e.Name()] {
			t.Errorf("%s does not belong to an alert", e.Name())
		}
	}
}

// TestAlerts evaluates every alert for each minute of artificial series.
func TestAlerts(t *testing.T) {
	raw, err := os.ReadFile("alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var cases map[string][]struct {
		Name   string                      `yaml:"name"`
		Series map[string]string           `yaml:"series"`
		Firing map[int][]map[string]string `yaml:"firing"`
	}
	if err := yaml.Unmarshal(raw, &cases); err != nil {
		t.Fatal(err)
	}
	for _, r := range rules(t) {
		fires := false
		for _, c := range cases[r.Alert] {
			t.Run(r.Alert+"/"+c.Name, func(t *testing.T) {
				alert := newAlert(t, r, c.Series)
				last := slices.Max(slices.Collect(maps.Keys(c.Firing)))
				for minute := range last + 1 {
					got := alert.firing(t, minute)
					want, ok := c.Firing[minute]
					if !ok {
						continue
					}
					fires = fires || len(want) > 0
					if !slices.Equal(got, texts(want)) {
						t.Errorf("minute %d: firing %v, want %v", minute, got, texts(want))
					}
				}
			})
		}
		if !fires {
			t.Errorf("no test case in which %s fires", r.Alert)
		}
		delete(cases, r.Alert)
	}
	for name := range cases {
		t.Errorf("test cases for unknown alert %s", name)
	}
}

// alert is a rule with the minute since which its expression is true, by
// labels.
type alert struct {
	rule   rulefmt.Rule
	engine *promql.Engine
	series storage.Queryable
	since  map[string]int
}

func newAlert(t *testing.T, r rulefmt.Rule, series map[string]string) *alert {
	t.Helper()
	var all []promql.Series
	for name, values := range series {
		l, sequence, err := promQL.ParseSeriesDesc(name + " " + values)
		if err != nil {
			t.Fatal(err)
		}
		s := promql.Series{Metric: l}
		for minute, v := range sequence {
			if !v.Omitted {
				s.Floats = append(s.Floats, promql.FPoint{T: at(minute).UnixMilli(), F: v.Value})
			}
		}
		all = append(all, s)
	}
	engine := promql.NewEngine(promql.EngineOpts{
		MaxSamples: 100000, Timeout: 10 * time.Second, LookbackDelta: time.Minute, Parser: promQL,
		NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
	})
	t.Cleanup(func() { _ = engine.Close() })
	return &alert{rule: r, engine: engine, series: queryable(all), since: map[string]int{}}
}

// at returns the time of a minute.
func at(minute int) time.Time { return time.Unix(0, 0).Add(time.Duration(minute) * time.Minute) }

// firing evaluates the rule as Prometheus does at each interval: an alert fires
// once its expression has been true for the duration of "for".
func (a *alert) firing(t *testing.T, minute int) []string {
	t.Helper()
	q, err := a.engine.NewInstantQuery(context.Background(), a.series, nil, a.rule.Expr, at(minute))
	if err != nil {
		t.Fatal(err)
	}
	defer q.Close()
	result := q.Exec(context.Background())
	vector, err := result.Vector()
	if err != nil {
		t.Fatal(err)
	}
	held := map[string]bool{}
	firing := []string{}
	for _, s := range vector {
		// All series have the same job.
		text := labels.NewBuilder(s.Metric).Del(model.MetricNameLabel, "job").Labels().String()
		held[text] = true
		if _, ok := a.since[text]; !ok {
			a.since[text] = minute
		}
		if at(minute).Sub(at(a.since[text])) >= time.Duration(a.rule.For) {
			firing = append(firing, text)
		}
	}
	maps.DeleteFunc(a.since, func(text string, _ int) bool { return !held[text] })
	slices.Sort(firing)
	return firing
}

func texts(all []map[string]string) []string {
	out := []string{}
	for _, m := range all {
		out = append(out, labels.FromMap(m).String())
	}
	slices.Sort(out)
	return out
}

func queryable(all []promql.Series) storage.Queryable {
	slices.SortFunc(all, func(a, b promql.Series) int { return cmp.Compare(a.Metric.String(), b.Metric.String()) })
	return &storage.MockQueryable{MockQuerier: &storage.MockQuerier{
		SelectMockFunction: func(_ bool, _ *storage.SelectHints, matchers ...*labels.Matcher) storage.SeriesSet {
			set := &seriesSet{}
			for _, s := range all {
				if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(s.Metric.Get(m.Name)) }) {
					set.rest = append(set.rest, s)
				}
			}
			return set
		},
	}}
}

// seriesSet iterates over series.
type seriesSet struct {
	current promql.Series
	rest    []promql.Series
}

func (s *seriesSet) Next() bool {
	if len(s.rest) == 0 {
		return false
	}
	s.current, s.rest = s.rest[0], s.rest[1:]
	return true
}

func (s *seriesSet) At() storage.Series                { return promql.NewStorageSeries(s.current) }
func (s *seriesSet) Err() error                        { return nil }
func (s *seriesSet) Warnings() annotations.Annotations { return nil }

// TestSilentRuleIsDetected checks that TestAlerts detects a rule that never
// fires.
func TestSilentRuleIsDetected(t *testing.T) {
	a := newAlert(t, rulefmt.Rule{Alert: "Never", Expr: "up > 1"}, map[string]string{"up": "1x5"})
	if got := a.firing(t, 3); len(got) > 0 {
		t.Error(fmt.Sprint(got))
	}
	a = newAlert(t, rulefmt.Rule{Alert: "Always", Expr: "up == 1", For: model.Duration(2 * time.Minute)}, map[string]string{"up": "1x5"})
	for minute, want := range []int{0, 0, 1} {
		if got := a.firing(t, minute); len(got) != want {
			t.Errorf("minute %d: %v", minute, got)
		}
	}
}
