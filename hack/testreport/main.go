// SPDX-License-Identifier: Apache-2.0

// Command testreport makes the output of "go test -json", on its standard
// input, readable: a line for each package as it ends, everything that a failed
// test said, and at the end what was skipped and why.
package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"time"
)

// event is a line of "go test -json"; "go doc test2json" describes it.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Output     string
	Elapsed    float64
}

// test names a test, or with an empty name its whole package.
type test struct{ pkg, name string }

type report struct {
	out                     io.Writer
	output                  map[test][]string
	reasons                 map[string][]test // of skipped tests
	ran                     map[string]bool   // packages of which a test ran
	broken                  map[string]bool   // packages of which a test failed
	passed, failed, skipped int
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[test][]string{}, reasons: map[string][]test{}, ran: map[string]bool{}, broken: map[string]bool{}}
}

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	r.summarise()
	if r.failed > 0 {
		os.Exit(1)
	}
}

func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			fmt.Fprintln(r.out, lines.Text()) // a message of the go command itself
			continue
		}
		r.take(e)
	}
	return lines.Err()
}

func (r *report) take(e event) {
	t := test{e.Package, e.Test}
	if e.Test != "" {
		r.ran[e.Package] = true
	}
	switch e.Action {
	case "output":
		r.output[t] = append(r.output[t], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass":
		switch {
		case e.Test != "":
			r.passed++
		case r.ran[e.Package]:
			r.line("ok", e)
		default: // its TestMain chose to run none
			r.skip(t)
		}
		delete(r.output, t)
	case "skip":
		if e.Test != "" {
			r.skip(t)
		}
		delete(r.output, t)
	case "fail":
		if e.Test == "" {
			r.line("FAIL", e)
		}
		// A package fails with its tests; it counts when it fails without one.
		if e.Test != "" || !r.broken[e.Package] {
			r.failed++
			r.broken[e.Package] = true
		}
		fmt.Fprint(r.out, strings.Join(r.output[t], ""))
		delete(r.output, t)
	}
}

func (r *report) skip(t test) {
	r.skipped++
	reason := reason(r.output[t])
	r.reasons[reason] = append(r.reasons[reason], t)
}

func (r *report) line(word string, e event) {
	elapsed := time.Duration(e.Elapsed * float64(time.Second)).Round(10 * time.Millisecond)
	fmt.Fprintf(r.out, "%-4s  %s  %s\n", word, e.Package, elapsed)
}

// reason is what a skipped test said: its last line of output besides the
// ones that the testing package adds.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "---") || strings.HasPrefix(line, "===") || strings.HasPrefix(line, "ok") {
			continue
		}
		// file_test.go:12: reason
		if _, after, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok := strings.Cut(after, ": "); ok {
				return text
			}
		}
		return line
	}
	return "it gives no reason"
}

func (r *report) summarise() {
	if len(r.reasons) > 0 {
		fmt.Fprintln(r.out, "\nSkipped:")
	}
	for _, reason := range slices.Sorted(maps.Keys(r.reasons)) {
		tests := r.reasons[reason]
		fmt.Fprintf(r.out, "  %s\n", reason)
		const shown = 5
		for i, t := range tests {
			if i == shown {
				fmt.Fprintf(r.out, "    and %d more\n", len(tests)-shown)
				break
			}
			fmt.Fprintf(r.out, "    %s in %s\n", cmp.Or(t.name, "all"), t.pkg)
		}
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
}
