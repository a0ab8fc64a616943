// SPDX-License-Identifier: Apache-2.0

// Package corpus contains MeshedVirtualMachines as users write them, with the
// expected response to each of them. The files do not depend on a cluster: the
// integration tests apply them to an API server with the CRDs, and the end-to-end
// test features/Corpus to a cluster, where the webhooks of KubeVirt and Istio also
// validate them.
//
// A file starts with comments: a description, the optional line "needs" with
// the requirements for running the guest on a cluster, and the expected
// response, which is "accepted", or "rejected" with a part of the message.
package corpus

import (
	"embed"
	"fmt"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

//go:embed specs/*.yaml
var files embed.FS

// Case is a MeshedVirtualMachine and the expected response.
type Case struct {
	// Name is the name of the file without its extension.
	Name string
	// About is the description.
	About string
	// Needs lists the requirements for running the guest on a cluster. It may be
	// empty.
	Needs string
	// Rejection is a part of the expected message. It is empty for an accepted
	// spec.
	Rejection string
	// Object is the MeshedVirtualMachine, without a namespace.
	Object *unstructured.Unstructured
}

// All returns the cases, sorted by name.
func All() ([]Case, error) {
	entries, err := files.ReadDir("specs")
	if err != nil {
		return nil, err
	}
	all := make([]Case, 0, len(entries))
	for _, e := range entries {
		text, err := files.ReadFile(path.Join("specs", e.Name()))
		if err != nil {
			return nil, err
		}
		c, err := parse(strings.TrimSuffix(e.Name(), ".yaml"), string(text))
		if err != nil {
			return nil, fmt.Errorf("%s: %w", e.Name(), err)
		}
		all = append(all, c)
	}
	return all, nil
}

func parse(name, text string) (Case, error) {
	c := Case{Name: name}
	answered := false
	for line := range strings.Lines(text) {
		comment, found := strings.CutPrefix(strings.TrimSpace(line), "# ")
		if !found {
			break
		}
		needs, isNeeds := strings.CutPrefix(comment, "needs: ")
		rejection, isRejection := strings.CutPrefix(comment, "rejected: ")
		switch {
		case isNeeds:
			c.Needs = needs
		case isRejection && rejection != "":
			c.Rejection, answered = rejection, true
		case comment == "accepted":
			answered = true
		default:
			c.About = comment
		}
	}
	if c.About == "" || !answered {
		return c, fmt.Errorf("the first lines must contain a description, and \"accepted\" or \"rejected: MESSAGE\"")
	}
	content := map[string]any{}
	if err := yaml.UnmarshalStrict([]byte(text), &content); err != nil {
		return c, err
	}
	c.Object = &unstructured.Unstructured{Object: content}
	return c, nil
}
