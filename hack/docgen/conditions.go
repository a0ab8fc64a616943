// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
)

// constant is a typed string constant with its comment.
type constant struct {
	typ, value, doc string
}

// group is a const block: its comment and its constants.
type group struct {
	title     string
	constants []constant
}

// conditionSources are the files with the condition types and reasons.
var conditionSources = []string{
	"api/v1alpha1/conditions.go", "api/v1alpha1/adoption_conditions.go", "api/v1alpha1/meshpolicy_reasons.go", "api/v1alpha1/podnatconfiguration_reasons.go", "api/v1alpha1/connectiontrace_reasons.go",
}

// conditions returns the Markdown tables of the condition types and reasons in
// Go files. It fails if a reason is not listed by any condition, or if a type or a
// reason does not have a comment.
func conditions(files ...string) (string, error) {
	var groups []group
	for _, file := range files {
		more, err := parseConstants(file)
		if err != nil {
			return "", err
		}
		groups = append(groups, more...)
	}
	if err := checkReasons(groups); err != nil {
		return "", fmt.Errorf("%s: %w", strings.Join(files, ", "), err)
	}
	var b strings.Builder
	b.WriteString("# Conditions and reasons\n\n")
	b.WriteString("The conditions in `status.conditions` of all kinds. `kubectl explain mvm.status` describes the other fields of the status.\n")
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n", g.title)
		if g.constants[0].typ == "ConditionType" {
			b.WriteString("| Type | Meaning | Reasons |\n|---|---|---|\n")
		} else {
			b.WriteString("| Reason | Meaning |\n|---|---|\n")
		}
		for _, c := range g.constants {
			if c.typ == "ConditionType" {
				meaning, reasons := splitReasons(c.doc)
				fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.value, cell(meaning), cell(reasons))
			} else {
				fmt.Fprintf(&b, "| `%s` | %s |\n", c.value, cell(c.doc))
			}
		}
	}
	return b.String(), nil
}

func parseConstants(file string) ([]group, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	var groups []group
	for _, d := range parsed.Decls {
		block, ok := d.(*ast.GenDecl)
		if !ok || block.Tok != token.CONST {
			continue
		}
		g := group{title: strings.TrimSuffix(strings.TrimSpace(block.Doc.Text()), ".")}
		for _, s := range block.Specs {
			c, err := parseConstant(s.(*ast.ValueSpec))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", file, err)
			}
			g.constants = append(g.constants, c)
		}
		groups = append(groups, g)
	}
	return groups, nil
}

func parseConstant(s *ast.ValueSpec) (constant, error) {
	name := s.Names[0].Name
	typ, ok := s.Type.(*ast.Ident)
	if !ok || len(s.Values) != 1 {
		return constant{}, fmt.Errorf("%s: must be a single typed constant", name)
	}
	literal, ok := s.Values[0].(*ast.BasicLit)
	if !ok {
		return constant{}, fmt.Errorf("%s: must be a literal", name)
	}
	value, err := strconv.Unquote(literal.Value)
	if err != nil {
		return constant{}, fmt.Errorf("%s: %w", name, err)
	}
	// The documentation omits the name in "ReasonX: ..." and "ConditionX ...".
	doc := strings.TrimSpace(s.Doc.Text())
	doc, found := strings.CutPrefix(doc, name)
	if !found || strings.TrimSpace(doc) == "" {
		return constant{}, fmt.Errorf("%s: the comment must start with the name and describe the meaning", name)
	}
	doc = strings.TrimSpace(strings.TrimPrefix(doc, ":"))
	return constant{typ: typ.Name, value: value, doc: strings.ToUpper(doc[:1]) + doc[1:]}, nil
}

// splitReasons splits the comment of a condition type at "Possible reasons".
func splitReasons(doc string) (meaning, reasons string) {
	meaning, reasons, found := strings.Cut(doc, "Possible reasons ")
	if !found {
		return doc, ""
	}
	return meaning, strings.ToUpper(reasons[:1]) + reasons[1:]
}

func checkReasons(groups []group) error {
	named := map[string]bool{}
	for _, g := range groups {
		for _, c := range g.constants {
			if c.typ != "ConditionType" {
				continue
			}
			_, reasons := splitReasons(c.doc)
			if reasons == "" {
				return fmt.Errorf("condition %s does not list its possible reasons", c.value)
			}
			for _, word := range strings.FieldsFunc(reasons, func(r rune) bool { return strings.ContainsRune(" \n,.:;", r) }) {
				named[word] = true
			}
		}
	}
	var orphans []string
	for _, g := range groups {
		for _, c := range g.constants {
			if c.typ == "ConditionReason" && !named[c.value] {
				orphans = append(orphans, c.value)
			}
		}
	}
	if len(orphans) > 0 {
		slices.Sort(orphans)
		return fmt.Errorf("these reasons are not listed by any condition: %s", strings.Join(orphans, ", "))
	}
	return nil
}
