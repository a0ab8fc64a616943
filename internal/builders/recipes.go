// SPDX-License-Identifier: Apache-2.0

package builders

import (
	"fmt"
	"os"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/api/v1alpha1"
)

// Recipe is a section of docs/cookbook.md.
type Recipe struct {
	// Title is the heading of the section.
	Title string
	// Machines are the objects of the section.
	Machines []*v1alpha1.MeshedVirtualMachine
	// Commands are the lines of the section that show the effect.
	Commands []string
	// Result is the measured effect, and Tests are the tests that measured it.
	Result string
	Tests  []string
	// Envoy are parts of the configuration that istiod compiles.
	Envoy []string
}

var (
	recipeObjects = regexp.MustCompile("(?s)```yaml\n(.*?)```")
	recipeCommand = regexp.MustCompile(`(?m)^    (\S.*)$`)
	recipeResult  = regexp.MustCompile(`(?m)^- \*\*Result\.\*\* (.*)$`)
	recipeEnvoy   = regexp.MustCompile(`(?m)^- \*\*Envoy\.\*\* (.*)$`)
	recipeTest    = regexp.MustCompile("`((?:features|test)/[A-Za-z/]+)`")
	recipeCode    = regexp.MustCompile("`([^`]+)`")
)

// Recipes reads the sections of docs/cookbook.md. The objects have UIDs, as on an API server.
func Recipes(path string) ([]Recipe, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []Recipe
	for _, section := range strings.Split(string(text), "\n## ")[1:] {
		title, body, _ := strings.Cut(section, "\n")
		r := Recipe{Title: title, Tests: matches(recipeTest, body)}
		for _, block := range matches(recipeObjects, body) {
			for document := range strings.SplitSeq(block, "\n---\n") {
				mvm := &v1alpha1.MeshedVirtualMachine{}
				if err := yaml.UnmarshalStrict([]byte(document), mvm); err != nil {
					return nil, fmt.Errorf("%s: %w", title, err)
				}
				mvm.UID, mvm.Generation = UID("mvm", mvm.Name), 1
				r.Machines = append(r.Machines, mvm)
			}
		}
		r.Commands = matches(recipeCommand, recipeObjects.ReplaceAllString(body, ""))
		r.Result = strings.Join(matches(recipeResult, body), " ")
		r.Envoy = matches(recipeCode, strings.Join(matches(recipeEnvoy, body), " "))
		all = append(all, r)
	}
	return all, nil
}

// File is the name of the recipe's golden files.
func (r Recipe) File() string {
	return "cookbook-" + strings.ReplaceAll(strings.ToLower(r.Title), " ", "-") + ".yaml"
}

func matches(expression *regexp.Regexp, text string) []string {
	var all []string
	for _, m := range expression.FindAllStringSubmatch(text, -1) {
		all = append(all, m[1])
	}
	return all
}
