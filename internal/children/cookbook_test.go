// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	b "meshvm.io/meshvm/internal/builders"
	"meshvm.io/meshvm/internal/children"
	"meshvm.io/meshvm/internal/meshservice"
)

const cookbook = "../../docs/cookbook.md"

func recipes(t *testing.T) []b.Recipe {
	t.Helper()
	all, err := b.Recipes(cookbook)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// cookbookInputs are the inputs of TestDesiredGolden from the cookbook. Istio's validation and
// analysis, and istiod, run on the golden files.
func cookbookInputs(t *testing.T) map[string]children.Input {
	t.Helper()
	inputs := map[string]children.Input{}
	for _, r := range recipes(t) {
		var members []meshservice.Member
		for _, mvm := range r.Machines {
			members = append(members, member(mvm))
		}
		in := membersInput(members)
		switch {
		case in.MVM.Spec.Adopts():
			in = runningBefore(in.MVM)
		case len(members) == 1: // as before the first start
			in.VMI, in.LauncherPods, in.Service = nil, nil, nil
		}
		inputs[strings.TrimSuffix(r.File(), ".yaml")] = in
	}
	return inputs
}

// TestRecipesAreComplete checks that each recipe of the cookbook has machines, a command, the
// measured result with its test, and assertions on the configuration of the proxies, and
// that the tests exist.
func TestRecipesAreComplete(t *testing.T) {
	tests, err := filepath.Glob("../../test/e2e/features/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var source strings.Builder
	for _, file := range tests {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		source.Write(text)
	}
	all := recipes(t)
	for _, r := range all {
		if len(r.Machines) == 0 || len(r.Commands) == 0 || r.Result == "" || len(r.Tests) == 0 || len(r.Envoy) == 0 {
			t.Errorf("%s: %d machines, %d commands, result %q, tests %v, parts of the proxy's configuration %v: add what is missing", r.Title, len(r.Machines), len(r.Commands), r.Result, r.Tests, r.Envoy)
		}
		for _, name := range r.Tests {
			for _, part := range strings.Split(name, "/")[1:] {
				if !strings.Contains(source.String(), `Name: "`+part+`"`) && !strings.Contains(source.String(), `t.Step("`+part+`"`) && name != "test/istiod" {
					t.Errorf("%s: the test %s does not exist", r.Title, name)
				}
			}
		}
	}
	if len(all) < 15 {
		t.Errorf("%d recipes", len(all))
	}
	t.Logf("recipes: %d", len(all))
}
