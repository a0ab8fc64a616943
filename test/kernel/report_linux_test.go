package kernel

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// withMeshvm is the last column of the report.
const withMeshvm = "with meshvm"

// report is what was seen: a row for each situation, a column for each of
// KubeVirt's variants and one for our table. What was seen more than once, with
// other rules of Istio's for example, must have been the same.
type report struct {
	rows  []string
	cells map[string]map[string]string
}

var columns = []string{annotated.name, labelled.name, withoutList.name, withMeshvm}

func (r *report) add(s situation, column string, o outcome) {
	if r.cells == nil {
		r.cells = map[string]map[string]string{}
	}
	row := s.name
	if s.repair != "" {
		row = s.repair + ": " + row
	}
	if r.cells[row] == nil {
		r.cells[row] = map[string]string{}
		r.rows = append(r.rows, row)
	}
	switch seen, again := r.cells[row][column], o.words(); {
	case seen == "":
		r.cells[row][column] = again
	case !slices.Contains(strings.Split(seen, ", or "), again):
		r.cells[row][column] = seen + ", or " + again
	}
}

// complete says whether every probe was sent, which it is not with go test -run.
func (r *report) complete() bool {
	for _, row := range r.rows {
		if len(r.cells[row]) != len(columns) {
			return false
		}
	}
	return len(r.rows) == len(situations(ipv4))
}

func (r *report) markdown() string {
	var b strings.Builder
	b.WriteString("| Connection | Stock, VMI annotation | Stock, label only | Stock, label only, no port list | With meshvm |\n")
	b.WriteString("|---|---|---|---|---|\n")
	for _, row := range r.rows {
		fmt.Fprintf(&b, "| %s |", row)
		for _, c := range columns {
			fmt.Fprintf(&b, " %s |", r.cells[row][c])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// check prints the report and compares it with the published one.
func (r *report) check(t *testing.T) {
	t.Helper()
	if !r.complete() {
		t.Log("not every probe was sent: the published report is left alone")
		return
	}
	want := r.markdown()
	t.Logf("before and after:\n%s", want)
	section(t, "before and after", want)
}
