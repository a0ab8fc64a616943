// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"meshvm.io/meshvm/internal/cli/nat"
	"meshvm.io/meshvm/internal/cli/plugin"
	"meshvm.io/meshvm/internal/cli/status"
	"meshvm.io/meshvm/internal/cli/trace"
)

// results are the results of all verbs. Verbs without a result print only a text that
// other programs read.
var results = map[string]plugin.Result{
	"nat":    &nat.Result{},
	"status": &status.Result{},
	"trace":  &trace.Result{},
}

// withoutResult are the verbs without a result.
var withoutResult = []string{"completion", "help"}

// filler sets every field of a value to a value that occurs only once, and every list to
// one element.
type filler struct{ n int }

func (f *filler) fill(t *testing.T, v reflect.Value, depth int) {
	t.Helper()
	f.n++
	switch {
	case v.Type() == reflect.TypeFor[metav1.Time]():
		v.Set(reflect.ValueOf(metav1.Time{Time: time.Unix(int64(f.n)*1000, 0).UTC()}))
		return
	case v.Kind() == reflect.String:
		v.SetString(fmt.Sprintf("value-%d-", f.n))
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(f.n%2 == 0)
	case reflect.Int, reflect.Int32, reflect.Int64:
		v.SetInt(int64(1000 + f.n))
	case reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(1000 + f.n)) //nolint:gosec // The test has few fields.
	case reflect.Pointer:
		v.Set(reflect.New(v.Type().Elem()))
		f.fill(t, v.Elem(), depth)
	case reflect.Slice:
		if depth > 8 { // A tree ends here.
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), 1, 1))
		f.fill(t, v.Index(0), depth+1)
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			tag, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			if !field.IsExported() || tag == "-" || (tag == "" && !field.Anonymous) {
				t.Errorf("%s.%s is not in JSON, so it must not be in the result", v.Type(), field.Name)
				continue
			}
			f.fill(t, v.Field(i), depth+1)
		}
	default:
		t.Errorf("%s: the test has no values of this type", v.Type())
	}
}

// TestOutputsAgree proves that JSON contains everything that the text shows: the text of
// a result and the text of the same result after it was written to JSON and read again are
// equal, with a value in every field.
func TestOutputsAgree(t *testing.T) {
	for verb, result := range results {
		t.Run(verb, func(t *testing.T) {
			(&filler{}).fill(t, reflect.ValueOf(result).Elem(), 0)
			out, err := json.Marshal(result)
			if err != nil {
				t.Fatal(err)
			}
			again, _ := reflect.TypeAssert[plugin.Result](reflect.New(reflect.TypeOf(result).Elem()))
			if err := json.Unmarshal(out, again); err != nil {
				t.Fatal(err)
			}
			text := result.Text()
			if want := again.Text(); text != want {
				t.Errorf("the text contains fields that JSON does not contain:\n%s\nwith the fields of JSON:\n%s", text, want)
			}
			lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
			if last := lines[len(lines)-1]; !strings.HasPrefix(last, "next: ") {
				t.Errorf("the last line is %q, want the next command", last)
			}
		})
	}
}
