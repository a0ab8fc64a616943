// SPDX-License-Identifier: Apache-2.0

// Package cel tests what a real API server accepts and refuses of both kinds:
// every rule, limit and enumeration of the CRDs, with the words that users read.
package cel

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/testenv"
)

var shared = testenv.Shared{}

func TestMain(m *testing.M) { shared.Main(m) }

// testCase changes a base object and says what the API server answers.
type testCase struct {
	// set holds values by path, for example "spec.ports.0.port"; a path that
	// ends in the length of a list appends to it, and the value gone removes
	// what is there. Paths are set in the order of their names.
	set map[string]any
	// want are parts of the answer; none means that the object is accepted.
	want []string
}

type absent struct{}

var gone absent

// run creates, without keeping it, the base object of each case.
func run(t *testing.T, base string, cases map[string]testCase) {
	t.Helper()
	env := shared.Get(t)
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			u := object(t, base, tc.set)
			err := env.Client.Create(t.Context(), u, client.DryRunAll)
			check(t, err, tc.want)
		})
	}
}

// check compares the API server's answer.
func check(t *testing.T, err error, want []string) {
	t.Helper()
	if len(want) == 0 {
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("accepted; want an answer with %q", want)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Fatalf("no answer of the API server: %v", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the answer lacks %q:\n%v", w, err)
		}
	}
}

// object is a base object with changes.
func object(t *testing.T, base string, changes map[string]any) *unstructured.Unstructured {
	t.Helper()
	var content map[string]any
	if err := yaml.UnmarshalStrict([]byte(base), &content); err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: apply(t, content, changes)}
	if u.GetNamespace() == "" {
		u.SetNamespace(metav1.NamespaceDefault)
	}
	return u
}

// apply makes changes to an object's content.
func apply(t *testing.T, content, changes map[string]any) map[string]any {
	t.Helper()
	for _, path := range sortedKeys(changes) {
		v, err := put(content, strings.Split(path, "."), changes[path])
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		content = v.(map[string]any)
	}
	return content
}

// put returns the node with the value at the path.
func put(node any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch n := node.(type) {
	case nil:
		return put(map[string]any{}, path, value)
	case map[string]any:
		if len(path) == 1 && value == gone {
			delete(n, path[0])
			return n, nil
		}
		child, err := put(n[path[0]], path[1:], value)
		n[path[0]] = child
		return n, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i > len(n) {
			return nil, fmt.Errorf("%q is no index of a list of %d", path[0], len(n))
		}
		if i == len(n) {
			n = append(n, nil)
		}
		n[i], err = put(n[i], path[1:], value)
		return n, err
	default:
		return nil, fmt.Errorf("%q: there is a %T", path[0], node)
	}
}
