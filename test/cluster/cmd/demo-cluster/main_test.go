// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"testing"
)

func TestParse(t *testing.T) {
	o, err := parse([]string{"-name", "a", "-subnet", "192.0.2.0/30", "-kubeconfig", "file"})
	if err != nil || o.name != "a" || o.subnet != "192.0.2.0/30" || o.kubeconfig != "file" {
		t.Errorf("got %+v, %v", o, err)
	}
	if o, err = parse(nil); err != nil || o.kubeconfig != "" || o.kubectl != "kubectl" {
		t.Errorf("without arguments: got %+v, %v", o, err)
	}
	if _, err = parse([]string{"-help"}); !errors.Is(err, flag.ErrHelp) {
		t.Errorf("-help: got %v", err)
	}
	for _, args := range [][]string{{"-nothing"}, {"argument"}} {
		if _, err = parse(args); err == nil {
			t.Errorf("%q: expected an error", args)
		}
	}
}
