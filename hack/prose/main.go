// SPDX-License-Identifier: Apache-2.0

// Command prose measures the language of the texts in this repository. For each
// habit listed in habits.go it prints the occurrences per 10,000 words,
// separately for documentation, Go comments, Go strings and the comments of
// configuration and scripts. It exits with 1 and lists the occurrences if a
// frequency exceeds the habit's budget.
//
// It reads all files that git tracks or would track, nested modules included.
// With -all it lists every occurrence, within budget or not.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"text/tabwriter"
)

func main() {
	all := flag.Bool("all", false, "list every occurrence, within budget or not")
	flag.Parse()
	counts, err := countTree()
	if err != nil {
		fmt.Fprintln(os.Stderr, "prose:", err)
		os.Exit(2)
	}
	if !report(os.Stdout, counts, *all) {
		os.Exit(1)
	}
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

// countTree reads the files of the git repository in the current directory.
func countTree() (map[kind]*count, error) {
	files, err := trackedFiles()
	if err != nil {
		return nil, err
	}
	counts := map[kind]*count{}
	for _, k := range kinds {
		counts[k] = &count{hits: make([][]hit, len(habits))}
	}
	for _, name := range files {
		if kindsOf(name) == nil {
			continue
		}
		source, err := os.ReadFile(name)
		if os.IsNotExist(err) { // removed, and not yet committed
			continue
		}
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

// trackedFiles returns the files that git tracks or would track.
func trackedFiles() ([]string, error) {
	out, err := exec.Command("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		return nil, fmt.Errorf("git ls-files: %w", err)
	}
	files := strings.Split(strings.Trim(string(out), "\x00"), "\x00")
	slices.Sort(files)
	return slices.Compact(files), nil
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
	row := "per 10,000 words\tbudget\t"
	words := "words\t\t"
	for _, k := range kinds {
		row += string(k) + "\t"
		words += fmt.Sprintf("%d\t", counts[k].words)
	}
	fmt.Fprintln(table, row)
	var listed []string
	within := true
	for i, h := range habits {
		row = fmt.Sprintf("%s\t%.1f\t", h.name, h.budget)
		exceeded := false
		for _, k := range kinds {
			rate, mark := counts[k].rate(i), ""
			if rate > h.budget {
				mark, exceeded = "!", true
			}
			row += fmt.Sprintf("%.1f%s\t", rate, mark)
			if rate > h.budget || all {
				for _, f := range counts[k].hits[i] {
					listed = append(listed, fmt.Sprintf("%s:%d: %q (%s): %s", f.file, f.line, f.text, k, h.instead))
				}
			}
		}
		within = within && !exceeded
		fmt.Fprintln(table, row)
	}
	fmt.Fprintln(table, words)
	_ = table.Flush() // w is a terminal or a buffer
	for _, line := range listed {
		fmt.Fprintln(w, line)
	}
	return within
}
