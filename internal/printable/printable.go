// SPDX-License-Identifier: Apache-2.0

// Package printable makes texts of other programs and users safe for terminals and tables.
package printable

import (
	"strings"
	"unicode"
)

// Line returns at most limit characters of a text as one line. It replaces control characters
// and characters that change the direction of text. A shortened text ends with an ellipsis.
func Line(s string, limit int) string {
	s = strings.Map(func(r rune) rune { return printed(r, false) }, strings.ToValidUTF8(s, "?"))
	if r := []rune(s); len(r) > limit {
		return string(r[:limit-1]) + "…"
	}
	return s
}

// Lines replaces the same characters as Line, except for line feeds.
func Lines(s string) string {
	return strings.Map(func(r rune) rune { return printed(r, true) }, s)
}

func printed(r rune, lineFeeds bool) rune {
	if lineFeeds && r == '\n' {
		return r
	}
	if unicode.IsControl(r) || unicode.Is(unicode.Cf, r) {
		return ' '
	}
	return r
}
