// SPDX-License-Identifier: Apache-2.0

package printable

import "testing"

func TestLine(t *testing.T) {
	for in, want := range map[string]string{
		"": "", "a\x1b[2J\nb": "a [2J b", "a\u202eb": "a b", "a\xffb": "a?b", "ääääääääää": "äääääää…",
	} {
		if got := Line(in, 8); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	if got := Lines("a\n\x1bb\r\a"); got != "a\n b  " {
		t.Errorf("%q", got)
	}
}
