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

// group is a const block: what its own comment says, and its constants.
type group struct {
	title     string
	constants []constant
}

// conditions renders the condition types and reasons of a Go file. It is an
// error when a reason is no condition's, or when a type or a reason has no
// comment.
func conditions(file string) (string, error) {
	groups, err := parseConstants(file)
	if err != nil {
		return "", err
	}
	if err := checkReasons(groups); err != nil {
		return "", fmt.Errorf("%s: %w", file, err)
	}
	var b strings.Builder
	b.WriteString("# Conditions and reasons\n\n")
	b.WriteString("What `status.conditions` of both kinds can say. `kubectl explain mvm.status` tells the other fields.\n")
	for _, g := range groups {
		fmt.Fprintf(&b, "\n## %s\n\n", g.title)
		if g.constants[0].typ == "ConditionType" {
			b.WriteString("| Type | Says | Reasons |\n|---|---|---|\n")
		} else {
			b.WriteString("| Reason | Means |\n|---|---|\n")
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
		return constant{}, fmt.Errorf("%s: want one typed constant", name)
	}
	literal, ok := s.Values[0].(*ast.BasicLit)
	if !ok {
		return constant{}, fmt.Errorf("%s: want a literal", name)
	}
	value, err := strconv.Unquote(literal.Value)
	if err != nil {
		return constant{}, fmt.Errorf("%s: %w", name, err)
	}
	// "ReasonX: it means" and "ConditionX says" become what they say.
	doc := strings.TrimSpace(s.Doc.Text())
	doc, found := strings.CutPrefix(doc, name)
	if !found || strings.TrimSpace(doc) == "" {
		return constant{}, fmt.Errorf("%s: its comment must start with its name and say what it means", name)
	}
	doc = strings.TrimSpace(strings.TrimPrefix(doc, ":"))
	return constant{typ: typ.Name, value: value, doc: strings.ToUpper(doc[:1]) + doc[1:]}, nil
}

// splitReasons divides the comment of a condition type before "Possible
// reasons".
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
				return fmt.Errorf("condition %s names no possible reasons", c.value)
			}
			for _, word := range strings.FieldsFunc(reasons, func(r rune) bool { return strings.ContainsRune(" \n,.:;", r) }) {
				named[word] = true
			}
		}
	}
	var homeless []string
	for _, g := range groups {
		for _, c := range g.constants {
			if c.typ == "ConditionReason" && !named[c.value] {
				homeless = append(homeless, c.value)
			}
		}
	}
	if len(homeless) > 0 {
		slices.Sort(homeless)
		return fmt.Errorf("no condition names these reasons as possible: %s", strings.Join(homeless, ", "))
	}
	return nil
}
