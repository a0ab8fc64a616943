// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// emitter writes templates.
type emitter struct{ strings.Builder }

func (e *emitter) line(indent int, format string, args ...any) {
	e.WriteString(strings.Repeat(" ", indent))
	fmt.Fprintf(e, format, args...)
	e.WriteByte('\n')
}

// mapping writes the entries of a mapping.
func (e *emitter) mapping(m *mapping, indent int) error {
	for i, x := range m.entries {
		e.begin(m.entries, i)
		if err := e.entry(x.key, x.value, indent); err != nil {
			return fmt.Errorf("%s: %w", x.key, err)
		}
		e.end(m.entries, i)
	}
	return nil
}

// begin opens the condition of an entry, unless it is that of the one before.
func (e *emitter) begin(entries []entry, i int) {
	if c := entries[i].condition; c != "" && (i == 0 || entries[i-1].condition != c) {
		e.line(0, "{{- if %s }}", c)
	}
}

// end closes it, unless it is that of the next.
func (e *emitter) end(entries []entry, i int) {
	if c := entries[i].condition; c != "" && (i == len(entries)-1 || entries[i+1].condition != c) {
		e.line(0, "{{- end }}")
	}
}

func (e *emitter) entry(key string, value any, indent int) error {
	name := scalar(key)
	switch v := value.(type) {
	case *mapping:
		if len(v.entries) == 0 {
			e.line(indent, "%s: {}", name)
			return nil
		}
		e.line(indent, "%s:", name)
		return e.mapping(v, indent+2)
	case *sequence:
		if len(v.entries) == 0 {
			e.line(indent, "%s: []", name)
			return nil
		}
		e.line(indent, "%s:", name)
		return e.sequence(v, indent)
	case choices:
		for i, c := range v {
			e.line(0, "{{- %s %s }}", map[bool]string{true: "if", false: "else if"}[i == 0], c.condition)
			if err := e.entry(key, c.value, indent); err != nil {
				return err
			}
		}
		e.line(0, "{{- end }}")
	case block:
		e.line(indent, "%s:", name)
		e.line(indent+2, "{{- %s | nindent %d }}", v, indent+2)
	case optional:
		e.line(indent, "{{- with %s }}", v)
		e.line(indent, "%s:", name)
		e.line(indent+2, "{{- toYaml . | nindent %d }}", indent+2)
		e.line(indent, "{{- end }}")
	case optionalText:
		e.line(indent, "{{- with %s }}", v)
		e.line(indent, "%s: {{ . | quote }}", name)
		e.line(indent, "{{- end }}")
	case included:
		e.line(indent, "{{- %s | nindent %d }}", v, indent)
	case string:
		if strings.Contains(v, "\n") && !strings.Contains(v, " \n") && !strings.HasPrefix(v, " ") {
			e.text(name, v, indent)
			return nil
		}
		e.line(indent, "%s: %s", name, scalar(v))
	default:
		e.line(indent, "%s: %s", name, scalar(v))
	}
	return nil
}

// text writes a literal block.
func (e *emitter) text(name, text string, indent int) {
	chomp := "-"
	if line, ok := strings.CutSuffix(text, "\n"); ok {
		chomp, text = "", line
	}
	e.line(indent, "%s: |%s", name, chomp)
	for l := range strings.SplitSeq(escape(text), "\n") {
		if l == "" {
			e.WriteByte('\n')
			continue
		}
		e.line(indent+2, "%s", l)
	}
}

// sequence writes the items of a sequence, with the dash at the indentation.
func (e *emitter) sequence(s *sequence, indent int) error {
	for i, x := range s.entries {
		e.begin(s.entries, i)
		switch v := x.value.(type) {
		case *mapping:
			if len(v.entries) == 0 || v.entries[0].condition != "" {
				return fmt.Errorf("item %q begins with a condition", x.key)
			}
			item := emitter{}
			if err := item.mapping(v, indent+2); err != nil {
				return err
			}
			e.line(indent, "- %s", strings.TrimSpace(item.String()))
		case *sequence, choices, block, optional, optionalText, included:
			return fmt.Errorf("an item of a sequence is a %T", v)
		default:
			e.line(indent, "- %s", scalar(v))
		}
		e.end(s.entries, i)
	}
	return nil
}

// plain matches strings that need no quotes unless YAML takes them for something
// else.
var plain = regexp.MustCompile(`^[A-Za-z0-9_./$-][A-Za-z0-9_./:@$ ,()=+;-]*$`)

// scalar writes a scalar, quoted where it has to be.
func scalar(v any) string {
	switch v := v.(type) {
	case expression:
		return string(v)
	case string:
		var back any
		err := yaml.Unmarshal([]byte(v), &back)
		if err == nil && reflect.DeepEqual(back, v) && plain.MatchString(v) && !strings.Contains(v, namespace) {
			return escape(v)
		}
		return escape(quoted(v))
	default:
		return quoted(v)
	}
}

// quoted is a value in JSON, which is YAML.
func quoted(v any) string {
	var b strings.Builder
	j := json.NewEncoder(&b)
	j.SetEscapeHTML(false)
	if err := j.Encode(v); err != nil {
		panic(err) // it came from YAML
	}
	return strings.TrimSpace(b.String())
}

// escape keeps the template engine from what is not meant for it, and puts the
// release's namespace where config/ has its own.
func escape(text string) string {
	text = strings.ReplaceAll(text, "{{", `{{ "{{" }}`)
	return strings.ReplaceAll(text, namespace, `{{ .Release.Namespace }}`)
}
