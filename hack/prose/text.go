// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
)

// kind is a kind of text. Each is measured separately.
type kind string

const (
	docs     kind = "docs"
	comments kind = "Go comments"
	messages kind = "Go strings"
	config   kind = "YAML, scripts"
)

var kinds = []kind{docs, comments, messages, config}

// kindsOf returns the kinds of text that a file contains, nil if it is not read.
func kindsOf(name string) []kind {
	switch path.Ext(name) {
	case ".md":
		return []kind{docs}
	case ".go":
		return []kind{comments, messages}
	case ".yaml", ".yml", ".sh", ".py", ".toml":
		return []kind{config}
	}
	switch path.Base(name) {
	case "Makefile", ".gitmessage":
		return []kind{config}
	}
	if name == ".ci/run" {
		return []kind{config}
	}
	return nil
}

// extract returns the texts of a file. A text has the length and the lines of
// the file: bytes that are not part of the prose are zero, and the markers of
// comments, links and emphasis are blank.
func extract(name string, source []byte) (map[kind]string, error) {
	of := kindsOf(name)
	switch {
	case of == nil:
		return nil, nil
	case of[0] == docs:
		return map[kind]string{docs: markdown(source)}, nil
	case of[0] == config:
		return map[kind]string{config: hashComments(source)}, nil
	}
	return golang(name, source)
}

// mask is a text under construction.
type mask []byte

// newMask returns a mask without prose that has the lines of a file.
func newMask(source []byte) mask {
	m := make(mask, len(source))
	for i, b := range source {
		if b == '\n' {
			m[i] = b
		}
	}
	return m
}

// fill overwrites a range, except for line ends.
func (m mask) fill(begin, end int, with byte) {
	for i := begin; i < end; i++ {
		if m[i] != '\n' {
			m[i] = with
		}
	}
}

var (
	fence        = regexp.MustCompile("^[ >]*(?:[-*+] |[0-9]+[.)] )?[ ]*(```+|~~~+)")
	inlineCode   = regexp.MustCompile("(?s)``.+?``|`[^`]+`")
	htmlComment  = regexp.MustCompile(`(?s)<!--.*?-->`)
	htmlTag      = regexp.MustCompile(`</?[A-Za-z][^<>]*>`)
	linkTarget   = regexp.MustCompile(`\]\([^()\s]*(?:\s+"[^"]*")?\)|\]\[[^\]]*\]`)
	linkDefine   = regexp.MustCompile(`(?m)^\s*\[[^\]]+\]:\s+\S+.*$`)
	address      = regexp.MustCompile(`\bhttps?://[^\s)>]+`)
	markup       = regexp.MustCompile(`(?m)[*_~]{1,3}\b|\b[*_~]{1,3}|^[ ]*>+ |[\[\]!]`)
	tableDivider = regexp.MustCompile(`(?m)^[|:\- ]+$`)
)

// markdown returns the prose of a Markdown file: no code, addresses or markup.
func markdown(source []byte) string {
	m := mask(bytes.Clone(source))
	open, offset := "", 0
	for line := range bytes.Lines(source) {
		end := offset + len(line)
		switch marker := fence.FindSubmatch(line); {
		case open == "" && marker != nil:
			open = string(marker[1])
			m.fill(offset, end, 0)
		case open != "":
			if marker != nil && strings.HasPrefix(string(marker[1]), open) {
				open = ""
			}
			m.fill(offset, end, 0)
		}
		offset = end
	}
	for _, erase := range []*regexp.Regexp{htmlComment, inlineCode, linkDefine, tableDivider, htmlTag, address} {
		for _, at := range erase.FindAllIndex(m, -1) {
			m.fill(at[0], at[1], 0)
		}
	}
	for _, at := range linkTarget.FindAllIndex(m, -1) {
		m.fill(at[0], at[1], ' ')
	}
	for _, at := range markup.FindAllIndex(m, -1) {
		m.fill(at[0], at[1], ' ')
	}
	return string(m)
}

// golang returns the comments of a Go file and its string literals of at least
// three words. Generated files have none.
func golang(name string, source []byte) (map[kind]string, error) {
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, name, source, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if ast.IsGenerated(file) {
		return nil, nil
	}
	offset := func(p token.Pos) int { return fset.PositionFor(p, false).Offset }
	texts := newMask(source)
	for _, group := range file.Comments {
		texts.fill(offset(group.Pos()), offset(group.End()), ' ')
		for _, c := range group.List {
			begin := offset(c.Pos())
			if c.Text[1] == '/' && (directive.MatchString(c.Text) || code.MatchString(c.Text)) {
				texts.fill(begin, begin+len(c.Text), 0)
				continue
			}
			copy(texts[begin+2:], source[begin+2:begin+len(strings.TrimSuffix(c.Text, "*/"))])
		}
	}
	literals := newMask(source)
	ast.Inspect(file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ImportSpec:
			return false
		case *ast.Field:
			if n.Tag != nil {
				n.Tag = nil
			}
		case *ast.BasicLit:
			if n.Kind == token.STRING {
				literals.literal(offset(n.Pos()), n.Value)
			}
		}
		return true
	})
	return map[kind]string{comments: string(texts), messages: string(literals)}, nil
}

var (
	// directive matches comments for tools.
	directive = regexp.MustCompile(`^//(?:[a-z]+:|nolint| \+|\+| SPDX-)`)
	// code matches a line of code in a comment.
	code = regexp.MustCompile(`^//(?:\t|  {3,})`)
	// sentence matches a literal that is written for people.
	sentence = regexp.MustCompile(`[A-Za-z']{2,}[,:;]?\s[A-Za-z'%]+[,:;]?\s[A-Za-z'%]+`)
)

// literal adds a string literal, if it contains a sentence.
func (m mask) literal(begin int, quoted string) {
	value, err := strconv.Unquote(quoted)
	if err != nil || !sentence.MatchString(value) {
		return
	}
	text := strings.NewReplacer(`\n`, "  ", `\t`, "  ", `\"`, ` "`).Replace(quoted[1 : len(quoted)-1])
	copy(m[begin+1:], text)
}

// hashComments returns the comments of a file whose comments begin with #.
func hashComments(source []byte) string {
	m := newMask(source)
	offset := 0
	for line := range bytes.Lines(source) {
		if at := hashComment.FindSubmatchIndex(line); at != nil && !bytes.HasPrefix(line, []byte("#!")) && !bytes.Contains(line, []byte("SPDX-")) {
			m.fill(offset, offset+at[2], ' ')
			copy(m[offset+at[2]:], line[at[2]:])
		}
		offset += len(line)
	}
	return string(m)
}

var hashComment = regexp.MustCompile(`^(?:[^"'#]*\s)?#+(?:[ @]|## )?([^!].*)`)
