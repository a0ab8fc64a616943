// SPDX-License-Identifier: Apache-2.0

// Package cel tests with a real API server which objects of both kinds are
// accepted and rejected. It covers every rule, limit and enumeration of the CRDs,
// including the messages.
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

// testCase changes a base object and specifies the response of the API server.
type testCase struct {
	// set contains values by path, for example "spec.ports.0.port". A path that
	// ends with the length of a list appends to the list. The value removed
	// removes a field. Paths are set in alphabetical order.
	set map[string]any
	// want are substrings of the expected error. Without any, the object must be
	// accepted.
	want []string
}

type absent struct{}

var removed absent

// run creates the object of each case with a dry run.
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

// check compares the API server's response with the expected errors.
func check(t *testing.T, err error, want []string) {
	t.Helper()
	if len(want) == 0 {
		if err != nil {
			t.Fatalf("rejected: %v", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("accepted, want an error that contains %q", want)
	}
	var status apierrors.APIStatus
	if !errors.As(err, &status) {
		t.Fatalf("no response from the API server: %v", err)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("the error does not contain %q:\n%v", w, err)
		}
	}
}

// object returns a base object with changes applied.
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

// emptyObjects sets fields of the spec to an empty object.
func emptyObjects(fields ...string) map[string]any {
	set := map[string]any{}
	for _, f := range fields {
		set["spec."+f] = map[string]any{}
	}
	return set
}

// apply applies changes to the content of an object.
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

// put returns the node with the value set at the path.
func put(node any, path []string, value any) (any, error) {
	if len(path) == 0 {
		return value, nil
	}
	switch n := node.(type) {
	case nil:
		return put(map[string]any{}, path, value)
	case map[string]any:
		if len(path) == 1 && value == removed {
			delete(n, path[0])
			return n, nil
		}
		child, err := put(n[path[0]], path[1:], value)
		n[path[0]] = child
		return n, err
	case []any:
		i, err := strconv.Atoi(path[0])
		if err != nil || i > len(n) {
			return nil, fmt.Errorf("%q is not an index of a list of %d elements", path[0], len(n))
		}
		if i == len(n) {
			n = append(n, nil)
		}
		n[i], err = put(n[i], path[1:], value)
		return n, err
	default:
		return nil, fmt.Errorf("%q: found a %T", path[0], node)
	}
}
