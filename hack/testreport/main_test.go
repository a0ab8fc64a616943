// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const input = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:7: needs root: sudo\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"--- SKIP: TestA (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"noise\n"}
{"Action":"pass","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Elapsed":1.234}
{"Action":"output","Package":"q","Output":"all skipped: no kernel\n"}
{"Action":"output","Package":"q","Output":"ok  \tq\t0.1s\n"}
{"Action":"pass","Package":"q"}
{"Action":"run","Package":"r","Test":"TestC"}
{"Action":"output","Package":"r","Test":"TestC","Output":"broken\n"}
{"Action":"fail","Package":"r","Test":"TestC"}
{"Action":"fail","Package":"r"}
{"Action":"fail","Package":"does-not-compile"}
{"Action":"skip","Package":"without-tests"}
`

const want = `ok    p  1.23s
broken
FAIL  r  0s
FAIL  does-not-compile  0s

Skipped:
  all skipped: no kernel
    all in q
  needs root: sudo
    TestA in p

1 passed, 2 failed, 2 skipped
`

func TestReport(t *testing.T) {
	var got strings.Builder
	r := newReport(&got)
	if err := r.read(strings.NewReader(input)); err != nil {
		t.Fatal(err)
	}
	r.summarise()
	if diff := cmp.Diff(want, got.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
