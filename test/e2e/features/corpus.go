// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"regexp"
	"strings"
	"time"

	"meshvm.io/meshvm/test/corpus"
	"meshvm.io/meshvm/test/e2e/suite"
)

// missing matches the requirements of a guest without which KubeVirt's webhook
// rejects the VirtualMachine. The webhook does not check other requirements.
var missing = regexp.MustCompile(`feature gate|KubeVirt 1\.8|instancetype|preference|binding plugin|DataSource|GPU|SR-IOV node`)

// specs applies each spec of the corpus, and the objects of each accepted spec, with a
// dry run. The webhooks of KubeVirt and Istio must accept the objects, unless the
// cluster does not meet a requirement of the guest. Then the response is printed.
func specs(t *suite.T) {
	t.Operator()
	s := t.Namespace("corpus")
	ctx := t.Limit(5 * time.Minute)
	cases, err := corpus.All()
	t.NoError(err)
	count := map[string]int{}
	for _, c := range cases {
		mvm, err := c.Submit(ctx, s.Client, s.SampleNamespace())
		if c.Rejection != "" {
			count["rejected at admission or by the operator"]++
			if err == nil || !strings.Contains(err.Error(), c.Rejection) {
				t.Errorf("%s: %s\ngot  %v\nwant a rejection with %s", c.Name, c.About, err, c.Rejection)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %s\nrejected: %v", c.Name, c.About, err)
			continue
		}
		err = corpus.ApplyChildren(ctx, s.Client, mvm)
		switch {
		case err == nil:
			count["accepted by all webhooks"]++
		case missing.MatchString(c.Needs):
			count["rejected by a webhook because of a requirement"]++
			t.Logf("%s needs %s: %v", c.Name, c.Needs, err)
		default:
			t.Errorf("%s: %s\nthe objects of the accepted spec are rejected: %v", c.Name, c.About, err)
		}
	}
	t.Logf("%d specs: %v", len(cases), count)
}
