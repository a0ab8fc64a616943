// SPDX-License-Identifier: Apache-2.0

package flowio

import (
	"bytes"
	"errors"
	"strings"
	"testing"
)

func TestUnpack(t *testing.T) {
	result := []byte(`{"version":"` + ResultVersion + `","outcome":"Traced","notes":["` + strings.Repeat("rule ", 1000) + `"]}`)
	packed, err := Pack(result)
	if err != nil {
		t.Fatal(err)
	}
	if len(packed) > len(result)/10 {
		t.Errorf("%d bytes were compressed to %d", len(result), len(packed))
	}
	bomb, err := Pack(bytes.Repeat([]byte(" "), 64<<20))
	if err != nil {
		t.Fatal(err)
	}
	half := packed[:len(packed)/2]
	for name, tc := range map[string]struct {
		message []byte
		// want is the result, or empty if the message is not accepted.
		want []byte
	}{
		"compressed":                  {packed, result},
		"not compressed":              {result, result},
		"more than the limit":         {bomb, nil},
		"cut":                         {half, nil},
		"empty":                       {nil, nil},
		"not JSON":                    {[]byte("panic: x"), nil},
		"another version":             {[]byte(`{"version":"v9"}`), nil},
		"not gzip":                    {[]byte(`{"version":"` + ResultVersion + `","gzip":"AAAA"}`), nil},
		"a truncated stream":          {[]byte(`{"version":"` + ResultVersion + `","gzip":"H4sIAAAAAAAA/w=="}`), nil},
		"a list instead of an object": {[]byte(`[1]`), nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Unpack(tc.message)
			if tc.want == nil {
				if !errors.Is(err, ErrInvalidResult) {
					t.Errorf("got %d bytes and error %v, want ErrInvalidResult", len(got), err)
				}
				return
			}
			if err != nil || !bytes.Equal(got, tc.want) {
				t.Errorf("got %s, %v", got, err)
			}
		})
	}
}

// FuzzUnpack reads arbitrary messages, which must not cause a panic or more than the
// limit.
func FuzzUnpack(f *testing.F) {
	f.Add([]byte(`{"version":"` + ResultVersion + `","flows":[{"legs":[{}]}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := Unpack(b)
		if err != nil {
			return
		}
		if len(got) > max(MaxResultBytes, len(b)) {
			t.Errorf("%d bytes", len(got))
		}
		_, _ = Summarize(got)
	})
}
