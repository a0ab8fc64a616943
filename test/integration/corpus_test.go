// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/apply"

	"meshvm.io/meshvm/test/corpus"
)

// newerKubeVirt marks a case with a field that the CRDs of the tests, which are those
// of the oldest supported KubeVirt, do not have.
const newerKubeVirt = "KubeVirt 1.8"

// TestCorpus applies each spec of the corpus to the API server. It checks the
// responses of the CRD and of the operator, and that the API server accepts the
// children of an accepted spec. KubeVirt's own webhook only runs on a cluster.
func TestCorpus(t *testing.T) {
	env := shared.Get(t)
	cases, err := corpus.All()
	if err != nil {
		t.Fatal(err)
	}
	if len(cases) < 60 {
		t.Errorf("the corpus has %d specs, want at least 60", len(cases))
	}
	accepted := 0
	for _, c := range cases {
		if c.Rejection == "" {
			accepted++
		}
		t.Run(c.Name, func(t *testing.T) {
			mvm, err := c.Submit(t.Context(), env.Client, "default")
			if c.Rejection != "" {
				if err == nil || !strings.Contains(err.Error(), c.Rejection) {
					t.Errorf("%s\ngot  %v\nwant a rejection with %s", c.About, err, c.Rejection)
				}
				return
			}
			if err != nil {
				t.Fatalf("%s\nrejected: %v", c.About, err)
			}
			err = corpus.ApplyChildren(t.Context(), env.Client, mvm)
			if newer := c.Needs == newerKubeVirt; newer != (apply.UnknownField(err) != "") || !newer && err != nil {
				t.Errorf("%s\nthe children: %v", c.About, err)
			}
		})
	}
	t.Logf("%d specs, %d accepted, %d rejected", len(cases), accepted, len(cases)-accepted)
}
