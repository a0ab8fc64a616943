// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"reflect"
	"strings"
)

// configuration returns the Markdown description of the fields of
// OperatorConfiguration, which does not have a CRD, from the Go files of a
// directory. It fails if a field does not have a comment.
func configuration(dir string) (string, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*types.go"))
	if err != nil {
		return "", err
	}
	t := configTypes{structs: map[string]*ast.StructType{}, docs: map[string]string{}}
	for _, file := range files {
		if err := t.read(file); err != nil {
			return "", err
		}
	}
	const kind = "OperatorConfiguration"
	text, _ := splitMarkers(t.docs[kind])
	fmt.Fprintf(&t.b, "# %s\n\n`config.meshvm.io/v1alpha1`. %s\n\n", kind, cell(text))
	t.b.WriteString("[configuration.md](../configuration.md) describes how to provide the file and the effect of a change.\n\n")
	t.b.WriteString("| Field | Type | Meaning |\n|---|---|---|\n")
	if err := t.fields("", t.structs[kind]); err != nil {
		return "", fmt.Errorf("%s: %w", dir, err)
	}
	return t.b.String(), nil
}

// configTypes contains the types of a package by name.
type configTypes struct {
	structs map[string]*ast.StructType
	docs    map[string]string
	b       strings.Builder
}

// read adds the types of a file.
func (t *configTypes) read(file string) error {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ParseComments|parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	for _, d := range parsed.Decls {
		decl, ok := d.(*ast.GenDecl)
		if !ok || decl.Tok != token.TYPE {
			continue
		}
		spec := decl.Specs[0].(*ast.TypeSpec)
		t.docs[spec.Name.Name] = decl.Doc.Text()
		if s, ok := spec.Type.(*ast.StructType); ok {
			t.structs[spec.Name.Name] = s
		}
	}
	return nil
}

func (t *configTypes) fields(prefix string, s *ast.StructType) error {
	for _, f := range s.Fields.List {
		if len(f.Names) == 0 { // TypeMeta
			continue
		}
		name, _, _ := strings.Cut(reflect.StructTag(strings.Trim(f.Tag.Value, "`")).Get("json"), ",")
		text, _ := splitMarkers(f.Doc.Text())
		text = cell(text)
		if !strings.HasPrefix(text, name+" ") {
			return fmt.Errorf("%s: the comment must start with %q", f.Names[0].Name, name)
		}
		text = withoutName(text, name)
		typ := f.Type
		if p, ok := typ.(*ast.StarExpr); ok {
			typ = p.X
		}
		if named, ok := typ.(*ast.Ident); ok && t.structs[named.Name] != nil {
			fmt.Fprintf(&t.b, "| `%s` | object | %s |\n", prefix+name, text)
			if err := t.fields(prefix+name+".", t.structs[named.Name]); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(&t.b, "| `%s` | %s | %s |\n", prefix+name, t.typeName(typ), text)
	}
	return nil
}

func (t *configTypes) typeName(typ ast.Expr) string {
	switch typ := typ.(type) {
	case *ast.ArrayType:
		return "list of " + t.typeName(typ.Elt)
	case *ast.Ident:
		if _, markers := splitMarkers(t.docs[typ.Name]); strings.Contains(markers, "Enum=") {
			_, values, _ := strings.Cut(markers, "Enum=")
			values, _, _ = strings.Cut(values, "\n")
			return "`" + strings.ReplaceAll(values, ";", "`, `") + "`"
		}
		return strings.Replace(typ.Name, "int32", "integer", 1)
	case *ast.SelectorExpr:
		return strings.ToLower(typ.Sel.Name)
	default:
		return "?"
	}
}

// splitMarkers splits a comment before its markers.
func splitMarkers(doc string) (text, markers string) {
	text, markers, _ = strings.Cut(doc, "\n+")
	return strings.TrimSpace(text), markers
}
