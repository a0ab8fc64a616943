// SPDX-License-Identifier: Apache-2.0

// Command check enforces limits for which no linter exists:
//
//   - a Go file has at most 400 lines, unless it is generated;
//   - a function outside tests has at most 60 lines;
//   - a log message starts with an upper-case letter;
//   - the rule-writer and the tracer, which run with privileges, do not link a
//     Kubernetes client, and the rule-writer does not link the trace;
//   - every package below internal/ is listed in the import rules and in
//     CONTRIBUTING.md.
//
// It reads all files that git tracks or would track, including nested modules.
package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strings"
	"unicode"
)

const (
	maxFileLines     = 400
	maxFunctionLines = 60
)

// privileged are the programs whose dependencies are restricted, with the import
// paths that only the other one links. forbidden are the import paths that none of
// them must link.
var privileged = map[string][]string{
	"./cmd/rule-writer": {"meshvm.io/meshvm/internal/trace"},
	"./cmd/tracer":      {"meshvm.io/meshvm/internal/rulewriter", "meshvm.io/meshvm/internal/gate"},
}

var forbidden = []string{
	"k8s.io/",
	"sigs.k8s.io/",
	"kubevirt.io/",
	"istio.io/",
	"meshvm.io/meshvm/api",
}

func main() {
	findings, err := check()
	if err != nil {
		fmt.Fprintln(os.Stderr, "check:", err)
		os.Exit(2)
	}
	for _, f := range findings {
		fmt.Println(f)
	}
	if len(findings) > 0 {
		os.Exit(1)
	}
}

func check() ([]string, error) {
	files, err := lines("git", "ls-files", "--cached", "--others", "--exclude-standard", "*.go")
	if err != nil {
		return nil, err
	}
	var findings []string
	longest := 0
	for _, name := range files {
		source, err := os.ReadFile(name)
		if os.IsNotExist(err) { // removed, but not committed yet
			continue
		}
		if err != nil {
			return nil, err
		}
		found, n, err := checkFile(name, source)
		if err != nil {
			return nil, err
		}
		findings = append(findings, found...)
		longest = max(longest, n)
	}
	if findings, err = checkPlaces(findings, files); err != nil {
		return nil, err
	}
	fmt.Printf("check: %d Go files, the longest has %d lines", len(files), longest)
	for _, program := range slices.Sorted(maps.Keys(privileged)) {
		linked, err := lines("go", "list", "-deps", program)
		if err != nil {
			return nil, err
		}
		findings = append(findings, checkLinked(program, linked)...)
		fmt.Printf("; %s links %d packages", program, len(linked))
	}
	fmt.Println()
	return findings, nil
}

// checkFile checks the sizes of a file and its functions. It also returns the
// number of lines of the file, or zero if the file is generated.
func checkFile(name string, source []byte) (findings []string, length int, err error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, 0, err
	}
	if ast.IsGenerated(file) {
		return nil, 0, nil
	}
	length = bytes.Count(source, []byte("\n"))
	if length > maxFileLines {
		findings = append(findings, fmt.Sprintf("%s: %d lines, at most %d", name, length, maxFileLines))
	}
	if strings.HasSuffix(name, "_test.go") || strings.HasPrefix(name, "test/") {
		return findings, length, nil
	}
	findings = append(findings, checkLogs(fset, file)...)
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok {
			continue
		}
		start := fset.Position(f.Pos())
		if n := fset.Position(f.End()).Line - start.Line + 1; n > maxFunctionLines {
			findings = append(findings, fmt.Sprintf("%s: %s has %d lines, at most %d", start, f.Name.Name, n, maxFunctionLines))
		}
	}
	return findings, length, nil
}

// checkLogs checks the messages of logr's Info and Error.
func checkLogs(fset *token.FileSet, file *ast.File) (findings []string) {
	position := map[string]int{"Info": 0, "Error": 1}
	ast.Inspect(file, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		method, ok := call.Fun.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		i, ok := position[method.Sel.Name]
		if !ok || len(call.Args) <= i {
			return true
		}
		text, ok := call.Args[i].(*ast.BasicLit)
		if ok && text.Kind == token.STRING && len(text.Value) > 2 && unicode.IsLower(rune(text.Value[1])) {
			findings = append(findings, fmt.Sprintf("%s: the log message %s starts with a lower-case letter", fset.Position(text.Pos()), text.Value))
		}
		return true
	})
	return findings
}

// checkPlaces adds the packages below internal/ that are not listed.
func checkPlaces(findings, files []string) ([]string, error) {
	rules, err := os.ReadFile(".golangci.yml")
	if err != nil {
		return nil, err
	}
	table, err := os.ReadFile("CONTRIBUTING.md")
	if err != nil {
		return nil, err
	}
	return append(findings, unplaced(files, string(rules), string(table))...), nil
}

func unplaced(files []string, rules, table string) []string {
	var findings []string
	seen := map[string]bool{}
	for _, name := range files {
		parts := strings.Split(name, "/")
		if len(parts) < 3 || parts[0] != "internal" || seen[parts[1]] {
			continue
		}
		seen[parts[1]] = true
		place := "internal/" + parts[1] + "/"
		findings = append(findings, unruled(parts[1], rules)...)
		if !strings.Contains(table, "`"+place+"`") {
			findings = append(findings, place+": not in the table of CONTRIBUTING.md")
		}
	}
	return findings
}

// unruled returns the import rules that do not list a package below internal/.
// The lists of privileged packages contain a package twice: its files, and as a
// package that others may import. The manager may import only the packages in
// shared.
func unruled(name, rules string) []string {
	shared := []string{"ruleio", "strictjson", "flowio", "printable"}
	place := "internal/" + name + "/"
	file := `"**/` + place + `**"`
	if !strings.Contains(rules, file) {
		return []string{place + ": not in an import rule of .golangci.yml; add it to privileged or unprivileged"}
	}
	_, list, _ := strings.Cut(rules, "\n        privileged:\n")
	list, _, _ = strings.Cut(list, "\n        #")
	if !strings.Contains(list, file) {
		return nil
	}
	var findings []string
	path := "meshvm.io/meshvm/internal/" + name
	if !strings.Contains(list+"\n", "- "+path+"\n") {
		findings = append(findings, place+": not in the list allow of the rule privileged of .golangci.yml")
	}
	if !slices.Contains(shared, name) && !strings.Contains(rules, "{pkg: "+path+",") {
		findings = append(findings, place+": not in the list deny of the rule unprivileged of .golangci.yml")
	}
	return findings
}

func checkLinked(program string, packages []string) []string {
	var findings []string
	for _, p := range packages {
		if slices.ContainsFunc(slices.Concat(forbidden, privileged[program]), func(f string) bool { return strings.HasPrefix(p, f) }) {
			findings = append(findings, fmt.Sprintf("%s links %s", program, p))
		}
	}
	return findings
}

// lines runs a program and returns the lines of its output.
func lines(name string, args ...string) ([]string, error) {
	command := exec.Command(name, args...)
	command.Stderr = os.Stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", name, strings.Join(args, " "), err)
	}
	return strings.Fields(string(out)), nil
}
