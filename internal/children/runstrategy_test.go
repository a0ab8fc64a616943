// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/internal/children"
)

// TestKeepRunStrategy checks which run strategy is applied to a VirtualMachine.
func TestKeepRunStrategy(t *testing.T) {
	const (
		operator = `metadata: {managedFields: [{manager: meshvm, operation: Apply, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:runStrategy": {}, "f:running": {}}}}]}` + "\n"
		others   = `metadata: {managedFields: [{manager: virt-api, operation: Update, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:runStrategy": {}}}}, {manager: meshvm, operation: Apply, fieldsType: FieldsV1, fieldsV1: {"f:spec": {"f:template": {}}}}]}` + "\n"
	)
	for name, tc := range map[string]struct{ spec, live, want string }{
		"new":                              {spec: `{}`, want: `{runStrategy: Always}`},
		"new, set":                         {spec: `{runStrategy: Halted}`, want: `{runStrategy: Halted}`},
		"new, running set":                 {spec: `{running: false}`, want: `{running: false}`},
		"as the operator created it":       {`{}`, operator + `spec: {runStrategy: Always}`, `{runStrategy: Always}`},
		"removed from the spec":            {`{}`, operator + `spec: {runStrategy: Halted}`, `{runStrategy: Halted}`},
		"running removed from the spec":    {`{}`, operator + `spec: {running: false}`, `{running: false}`},
		"changed by another client":        {`{}`, others + `spec: {runStrategy: Halted}`, `{}`},
		"changed by another client, cache": {`{}`, `spec: {runStrategy: Halted}`, `{}`},
		"changed by another client, set":   {`{runStrategy: Always}`, others + `spec: {runStrategy: Halted}`, `{runStrategy: Always}`},
	} {
		t.Run(name, func(t *testing.T) {
			parse := func(text string) map[string]any {
				var o map[string]any
				if err := yaml.Unmarshal([]byte(text), &o); err != nil {
					t.Fatal(err)
				}
				return o
			}
			want := &unstructured.Unstructured{Object: map[string]any{"spec": parse(tc.spec)}}
			var live *unstructured.Unstructured
			if tc.live != "" {
				live = &unstructured.Unstructured{Object: parse(tc.live)}
			}
			children.KeepRunStrategy(want, live)
			if diff := cmp.Diff(parse(tc.want), want.Object["spec"]); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
