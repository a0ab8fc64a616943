// SPDX-License-Identifier: Apache-2.0

// Command prose measures the language of the texts in this repository. For each
// habit listed in habits.go it prints the occurrences per 10,000 words,
// separately for documentation, Go comments, Go strings and the comments of
// configuration and scripts. It exits with 1 and lists the occurrences if a
// frequency exceeds the budget of the habit.
//
//	prose [-all | -lint] [DIRECTORY]
//
// It reads the files in the git repository DIRECTORY, by default the current
// directory, that git tracks or would track, nested modules included. With -all
// it lists every occurrence. With -lint it prints only the names of the files
// that the prose linter can read.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() {
	all := flag.Bool("all", false, "list every occurrence, within budget or not")
	lint := flag.Bool("lint", false, "print the names of the files for the prose linter")
	flag.Parse()
	dir := "."
	if flag.NArg() > 0 {
		dir = flag.Arg(0)
	}
	within, err := run(os.Stdout, dir, *all, *lint)
	if err != nil {
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(2)
	}
	if !within {
		os.Exit(1)
	}
}

// run returns whether all frequencies are within budget.
func run(w io.Writer, dir string, all, lint bool) (bool, error) {
	files, err := textFiles(dir)
	if err != nil {
		return false, err
	}
	if lint {
		for _, name := range files {
			if slices.Contains(lintable, path.Ext(name)) {
				fmt.Fprintln(w, name)
			}
		}
		return true, nil
	}
	counts, err := countFiles(dir, files)
	if err != nil {
		return false, err
	}
	return report(w, counts, all), nil
}

// count is what one kind of text contains.
type count struct {
	words int
	hits  [][]hit // by the index in habits
}

// hit is one occurrence of a habit.
type hit struct {
	file string
	line int
	text string
}

// rate returns the occurrences of a habit per 10,000 words.
func (c *count) rate(habit int) float64 {
	if c.words == 0 {
		return 0
	}
	return float64(len(c.hits[habit])) * 10000 / float64(c.words)
}

// countFiles reads files of a directory.
func countFiles(dir string, files []string) (map[kind]*count, error) {
	counts := map[kind]*count{}
	for _, k := range kinds {
		counts[k] = &count{hits: make([][]hit, len(habits))}
	}
	for _, name := range files {
		source, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		texts, err := extract(name, source)
		if err != nil {
			return nil, err
		}
		for k, text := range texts {
			counts[k].add(name, text)
		}
	}
	return counts, nil
}

// skipped are the paths of files that are made from other files or projects, and
// of this command, which quotes the habits.
var skipped = []string{
	"bundle/",
	"catalog/",
	"charts/meshvm/files/",
	"config/crd/bases/",
	"docs/api/",
	"hack/prose/",
	"test/upstream/kubevirt/crds/",
}

// lintable are the extensions of the files that the prose linter reads.
var lintable = []string{".go", ".md", ".yaml", ".yml"}

// textFiles returns the files with texts that git tracks or would track, except
// for skipped files, generated Go code and test data.
func textFiles(dir string) ([]string, error) {
	list := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
	list.Dir = dir
	out, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	files := strings.Split(strings.Trim(string(out), "\x00"), "\x00")
	slices.Sort(files)
	files = slices.DeleteFunc(slices.Compact(files), func(name string) bool {
		if kindsOf(name) == nil || strings.Contains(name, "/testdata/") || strings.HasPrefix(path.Base(name), "zz_generated.") ||
			slices.ContainsFunc(skipped, func(prefix string) bool { return strings.HasPrefix(name, prefix) }) {
			return true
		}
		_, err := os.Stat(filepath.Join(dir, name)) // removed, and not yet committed
		return os.IsNotExist(err)
	})
	return files, nil
}

// add counts the words and habits of a text from extract.
func (c *count) add(name, text string) {
	c.words += len(word.FindAllStringIndex(text, -1))
	for i, h := range habits {
		for _, at := range h.find(text) {
			c.hits[i] = append(c.hits[i], hit{
				file: name,
				line: 1 + strings.Count(text[:at[0]], "\n"),
				text: strings.Join(strings.Fields(text[at[0]:at[1]]), " "),
			})
		}
	}
}

// report prints the table and the occurrences of each habit that exceeds its
// budget. It returns whether all are within budget.
func report(w io.Writer, counts map[kind]*count, all bool) bool {
	table := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(table, "per 10,000 words\tbudget\t")
	for _, k := range kinds {
		fmt.Fprintf(table, "%s\t", k)
	}
	fmt.Fprintln(table)
	var listed []string
	within := true
	for i, h := range habits {
		fmt.Fprintf(table, "%s\t%.1f\t", h.name, h.budget)
		for _, k := range kinds {
			rate, mark := counts[k].rate(i), ""
			if rate > h.budget {
				mark, within = "!", false
			}
			fmt.Fprintf(table, "%.1f%s\t", rate, mark)
			if mark == "" && !all {
				continue
			}
			for _, f := range counts[k].hits[i] {
				listed = append(listed, fmt.Sprintf("%s:%d: %q (%s): %s", f.file, f.line, f.text, k, h.instead))
			}
		}
		fmt.Fprintln(table)
	}
	fmt.Fprint(table, "words\t\t")
	for _, k := range kinds {
		fmt.Fprintf(table, "%d\t", counts[k].words)
	}
	fmt.Fprintln(table)
	_ = table.Flush() // w is a terminal or a buffer
	for _, line := range listed {
		fmt.Fprintln(w, line)
	}
	return within
}
