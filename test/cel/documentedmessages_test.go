// SPDX-License-Identifier: Apache-2.0

package cel

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	extv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"

	"meshvm.io/meshvm/test/testenv"
)

var (
	messageRow  = regexp.MustCompile("(?m)^\\| `(.+?)` \\|")
	messageText = regexp.MustCompile("(?m)^`(.+)`\\.$")
	fieldPath   = regexp.MustCompile(`^[\w.\[\]/]+: `)
	formatVerb  = regexp.MustCompile(`%[+#]?[a-z]`)
)

// longestName is the length of a kind and a name, the only part of a message that
// no literal contains.
const longestName = len("Service shop/web exists and")

// TestDocumentedMessages compares the validation errors in docs/using.md with
// the messages of the CRDs and with the string literals of the operator.
func TestDocumentedMessages(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(testenv.Root(), "docs/using.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, found := strings.Cut(string(text), "\n## Common validation errors\n")
	if !found {
		t.Fatal("docs/using.md has no section with validation errors")
	}
	known := append(crdMessages(t), literals(t)...)
	rows := slices.Concat(messageRow.FindAllStringSubmatch(section, -1), messageText.FindAllStringSubmatch(section, -1))
	if len(rows) < 10 {
		t.Fatalf("%d messages found, want at least 10", len(rows))
	}
	for _, row := range rows {
		message := strings.TrimRight(row[1], "…")
		if strings.HasPrefix(message, "unknown field ") {
			continue // by the API server
		}
		if rest := unknown(message, known); rest != "" {
			t.Errorf("no longer a message of the API or of the operator: %s\nunknown part: %s", message, rest)
		}
	}
}

// unknown returns the part of a message that is neither a field, nor a message of
// the API that is quoted whole or from its beginning, nor text of the operator.
func unknown(message string, known []*regexp.Regexp) string {
	rest := fieldPath.ReplaceAllString(message, "")
	for _, r := range known {
		if strings.HasPrefix(r.String(), regexp.QuoteMeta(message)) {
			return ""
		}
		rest = r.ReplaceAllString(rest, "")
	}
	if rest = strings.Trim(rest, " :"); len(rest) <= longestName {
		return ""
	}
	return rest
}

// crdMessages returns an expression for each message of a validation rule.
func crdMessages(t *testing.T) []*regexp.Regexp {
	t.Helper()
	var all []*regexp.Regexp
	for _, kind := range []string{"meshedvirtualmachines", "podnatconfigurations", "connectiontraces"} {
		crd := readCRD(t, filepath.Join(testenv.Root(), "config/crd/bases/meshvm.io_"+kind+".yaml"))
		for _, v := range crd.Spec.Versions {
			walk("", v.Schema.OpenAPIV3Schema, func(_ string, s *extv1.JSONSchemaProps) bool {
				for _, rule := range s.XValidations {
					all = append(all, regexp.MustCompile(regexp.QuoteMeta(rule.Message)))
				}
				return true
			})
		}
	}
	return all
}

// literals returns an expression for each string literal of the operator that is
// long enough to be a message. Its format verbs match any text.
func literals(t *testing.T) []*regexp.Regexp {
	t.Helper()
	const shortest = 12
	var all []*regexp.Regexp
	err := filepath.WalkDir(filepath.Join(testenv.Root(), "internal"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			lit, ok := n.(*ast.BasicLit)
			if !ok || lit.Kind != token.STRING {
				return true
			}
			if s, err := strconv.Unquote(lit.Value); err == nil && strings.Contains(s, " ") && len(formatVerb.ReplaceAllString(s, "")) >= shortest {
				quoted := formatVerb.ReplaceAllString(regexp.QuoteMeta(s), `.*`)
				all = append(all, regexp.MustCompile(quoted))
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
