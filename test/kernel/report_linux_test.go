// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"meshvm.io/meshvm/internal/requirement"
)

// report contains the outcomes of the matrix.
type report struct {
	mu   sync.Mutex
	seen map[string]map[string][]observation // by column and phase
	// envoy is the number of cells that were also sent through Envoy.
	envoy int
}

func (r *report) addEnvoy(cells int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.envoy += cells
}

func (r *report) add(c column, when string, seen []observation) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.seen == nil {
		r.seen = map[string]map[string][]observation{}
	}
	if r.seen[c.String()] == nil {
		r.seen[c.String()] = map[string][]observation{}
	}
	r.seen[c.String()][when] = seen
}

// published are the columns of the published table. Each column combines
// columns of the matrix.
var published = []struct {
	heading, when string
	has           func(column) bool
}{
	{"Stock, VMI annotation", before, func(c column) bool { return !c.istio.none && c.kubevirt.istio }},
	{"Stock, label only", before, func(c column) bool { return !c.istio.none && !c.kubevirt.istio && c.kubevirt.ports }},
	{"Stock, label only, no port list", before, func(c column) bool { return !c.istio.none && !c.kubevirt.istio && !c.kubevirt.ports }},
	{"With meshvm", after, func(c column) bool { return !c.istio.none }},
	{"With meshvm, without Istio's rules", after, func(c column) bool { return c.istio.none }},
}

// row returns the cells of a flow in the published table. Different outcomes in
// combined columns are separated by "or".
func (r *report) row(x *flow, plane string) []string {
	out := make([]string, len(published))
	for i, p := range published {
		var words []string
		for _, c := range columns() {
			if !p.has(c) || c.plane() != plane {
				continue
			}
			for _, s := range r.seen[c.String()][p.when] {
				if w := s.got.words(); s.flow == x && !slices.Contains(words, w) {
					words = append(words, w)
				}
			}
		}
		out[i] = strings.Join(words, ", or ")
	}
	return out
}

// markdown returns the published table of a data plane.
func (r *report) markdown(t *testing.T, plane string) string {
	t.Helper()
	var b strings.Builder
	b.WriteString("| Connection |")
	for _, p := range published {
		b.WriteString(" " + p.heading + " |")
	}
	b.WriteString("\n|" + strings.Repeat("---|", len(published)+1) + "\n")
	write := func(name string, row []string) {
		fmt.Fprintf(&b, "| %s | %s |\n", name, strings.Join(row, " | "))
	}
	for _, x := range matrix(t) {
		if x.plane != "" && x.plane != plane {
			continue
		}
		name := x.name
		if x.repair != "" {
			name = x.repair + ": " + name
		}
		write(name, r.row(x, plane))
	}
	return b.String()
}

// check prints the report and compares it with the published table.
func (r *report) check(t *testing.T) {
	t.Helper()
	if len(r.seen) != len(columns()) {
		t.Log("not all flows were sent: the published report is not updated")
		return
	}
	cells := map[string]int{}
	for _, column := range r.seen {
		for when, seen := range column {
			cells[when] += len(seen)
			cells[""] += len(seen)
		}
	}
	t.Logf("%d cells: %d flows in %d columns, %d before, %d as the VM starts, %d after a change",
		cells[""], len(matrix(t)), len(columns()), cells[before], cells[started], cells[after])
	t.Run("Envoy", func(t *testing.T) {
		if _, err := envoyProgram(); err != nil {
			requirement.Kernel.Unmet(t, "only the proxy stand-in accepted connections: %v", err)
		}
		t.Logf("%d cells again with Envoy instead of the proxy stand-in", r.envoy)
	})
	for _, plane := range []string{"sidecar", "ambient"} {
		want := r.markdown(t, plane)
		t.Logf("before and after, %s:\n%s", plane, want)
		section(t, "before and after, "+plane, want)
	}
}
