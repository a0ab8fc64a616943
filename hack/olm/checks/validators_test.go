// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"regexp"
	"testing"

	"github.com/operator-framework/api/pkg/validation"
	interfaces "github.com/operator-framework/api/pkg/validation/interfaces"
)

// allowed are the accepted warnings with a reason. A pattern without a matching
// warning fails the test.
var allowed = map[string][]struct{ pattern, reason string }{}

// TestValidators runs all validators of operator-framework/api for bundles.
// "operator-sdk bundle validate" runs the same code.
func TestValidators(t *testing.T) {
	for name, v := range map[string]interfaces.Validator{
		"default: ClusterServiceVersion":    validation.ClusterServiceVersionValidator,
		"default: CustomResourceDefinition": validation.CustomResourceDefinitionValidator,
		"default: Bundle":                   validation.BundleValidator,
		"operatorhubv2":                     validation.OperatorHubV2Validator,
		"capabilities":                      validation.StandardCapabilitiesValidator,
		"categories":                        validation.StandardCategoriesValidator,
		"alpha-deprecated-apis":             validation.AlphaDeprecatedAPIsValidator,
		"good-practices":                    validation.GoodPracticesValidator,
		"object":                            validation.ObjectValidator,
	} {
		t.Run(name, func(t *testing.T) {
			b := load(t)
			objects := append(b.ObjectsToValidate(), map[string]string{"k8s-version": "1.37.0"})
			runValidator(t, name, v, objects)
		})
	}
}

func runValidator(t *testing.T, name string, v interfaces.Validator, objects []any) {
	t.Helper()
	used := map[string]bool{}
	results := v.Validate(objects...)
	errs, warnings, justified := 0, 0, 0
	for _, r := range results {
		for _, e := range r.Errors {
			errs++
			t.Errorf("error: %s: %s", r.Name, e.Error())
		}
		for _, w := range r.Warnings {
			warnings++
			reason := ""
			for _, a := range allowed[name] {
				if regexp.MustCompile(a.pattern).MatchString(w.Error()) {
					used[a.pattern], reason = true, a.reason
				}
			}
			if reason == "" {
				t.Errorf("warning: %s: %s", r.Name, w.Error())
				continue
			}
			justified++
			t.Logf("justified: %s: %s: %s", r.Name, w.Error(), reason)
		}
	}
	for _, a := range allowed[name] {
		if !used[a.pattern] {
			t.Errorf("no warning matches %q: remove it from the list", a.pattern)
		}
	}
	t.Logf("validator %s: %d errors, %d warnings, %d of them accepted", name, errs, warnings, justified)
	if len(results) == 0 && name != "object" {
		t.Error("the validators did not check any object")
	}
}
