// SPDX-License-Identifier: Apache-2.0

package ruleio

import (
	"errors"
	"flag"
	"os"
	"reflect"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "rewrite the list of the formats' fields")

// TestCheckVersion exchanges messages between programs with different formats.
func TestCheckVersion(t *testing.T) {
	for name, tc := range map[string]struct {
		own  int
		text string
		// want is a substring of the error. If empty, the message must be
		// accepted.
		want string
	}{
		"first format reads the first format": {1, requestPrefix + "1", ""},
		"first format has no predecessor":     {1, requestPrefix + "0", "want " + requestPrefix + "1"},
		"reader of the next format":           {1, requestPrefix + "2", "newer"},
		"same format":                         {3, requestPrefix + "3", ""},
		"reader of the previous format":       {3, requestPrefix + "2", ""},
		"two formats older":                   {3, requestPrefix + "1", "older than " + requestPrefix + "2"},
		"one format newer":                    {3, requestPrefix + "4", "images of the same release"},
		"other message type":                  {1, resultPrefix + "1", "want"},
		"none":                                {1, "", "want"},
		"no number":                           {1, requestPrefix + "one", "want"},
		"non-canonical number":                {1, requestPrefix + "+1", "want"},
	} {
		err := checkVersion(tc.text, requestPrefix, tc.own)
		if (err == nil) != (tc.want == "") || err != nil && (!errors.Is(err, ErrVersion) || !strings.Contains(err.Error(), tc.want)) {
			t.Errorf("%s: %v, want %q", name, err, tc.want)
		}
	}
}

// TestOtherFormats checks the response of both programs of this release to
// requests and results of the next release that contain unknown fields.
func TestOtherFormats(t *testing.T) {
	_, err := DecodeRequest([]byte(`{"version":"` + requestPrefix + `2","targets":[],"later":{}}`))
	if !errors.Is(err, ErrVersion) || !errors.Is(err, ErrInvalidRequest) || !strings.Contains(err.Error(), requestPrefix+"2") || !strings.Contains(err.Error(), RequestVersion) {
		t.Errorf("a newer request: %v, want an error with both versions", err)
	}
	_, err = DecodeResult([]byte(`{"version":"` + resultPrefix + `2","later":{}}`))
	if !errors.Is(err, ErrVersion) || !errors.Is(err, ErrInvalidResult) || !strings.Contains(err.Error(), resultPrefix+"2") || !strings.Contains(err.Error(), ResultVersion) {
		t.Errorf("a newer result: %v, want an error with both versions", err)
	}
}

// TestFormatIsFrozen decodes messages of an earlier program and checks that
// encoding them again results in the same bytes, because the digest of a
// request is part of the name of its Job.
func TestFormatIsFrozen(t *testing.T) {
	for file, again := range map[string]func([]byte) ([]byte, error){
		"testdata/request-v1.json": func(b []byte) ([]byte, error) {
			r, err := DecodeRequest(b)
			if err != nil {
				return nil, err
			}
			return r.Encode()
		},
		"testdata/result-v1.json": func(b []byte) ([]byte, error) {
			r, err := DecodeResult(b)
			if err != nil {
				return nil, err
			}
			return r.Encode()
		},
	} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text = []byte(strings.TrimSpace(string(text)))
		got, err := again(text)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		if diff := cmp.Diff(string(text), string(got)); diff != "" {
			t.Errorf("the encoding of %s changed (-before +now):\n%s", file, diff)
		}
	}
}

// TestFieldsOfTheFormats lists all fields of both formats. After the first
// release, a change of the list requires a new format.
func TestFieldsOfTheFormats(t *testing.T) {
	got := strings.Join(append(fields("request", reflect.TypeFor[Request]()), fields("result", reflect.TypeFor[Result]())...), "\n") + "\n"
	const file = "testdata/fields-v1.txt"
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("the format changed (-was +is). If the format was released, increase requestFormat or resultFormat and keep reading the previous format "+
			"(docs/upgrade.md). Otherwise run go test ./internal/ruleio -update\n%s", diff)
	}
}

func fields(prefix string, t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		if t.Kind() == reflect.Slice {
			prefix += "[]"
		}
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[PortRange]() {
		return []string{prefix + " " + t.Kind().String()}
	}
	var out []string
	for f := range t.Fields() {
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out = append(out, fields(prefix+"."+name, f.Type)...)
	}
	return out
}
