// SPDX-License-Identifier: Apache-2.0

package children_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/children"
)

// TestPolicyPrecedesTheGuest fails if the table lists a Service or an Istio
// object after the VirtualMachine.
func TestPolicyPrecedesTheGuest(t *testing.T) {
	kinds := children.Kinds()
	guest := slices.IndexFunc(kinds, func(k children.Kind) bool { return k.GroupVersionKind == children.VirtualMachineKind })
	for i, k := range kinds {
		if i > guest && k.Upstream != children.UpstreamMeshVM {
			t.Errorf("%s is applied after the VirtualMachine: move it up in the table of kinds.go", k.Kind)
		}
	}
}

// TestUpstreamOfEveryKind compares the project of a kind with its API group. The
// operator waits for the kinds of KubeVirt and Istio until they are served.
func TestUpstreamOfEveryKind(t *testing.T) {
	for _, k := range children.Kinds() {
		want := children.UpstreamKubernetes
		for suffix, upstream := range map[string]children.Upstream{
			"istio.io": children.UpstreamIstio, "kubevirt.io": children.UpstreamKubeVirt, "meshvm.io": children.UpstreamMeshVM,
		} {
			if strings.HasSuffix(k.Group, suffix) {
				want = upstream
			}
		}
		if k.Upstream != want {
			t.Errorf("%s of group %q belongs to %s, not to %s: correct the table of kinds.go", k.Kind, k.Group, want, k.Upstream)
		}
	}
}

// TestEveryKindIsDocumented fails if the page for users does not name a kind
// whose objects have the name of the MeshedVirtualMachine.
func TestEveryKindIsDocumented(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "using.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, names, found := strings.Cut(string(text), "- **Names.**")
	names, _, _ = strings.Cut(names, "\n\n")
	if !found {
		t.Fatal("docs/using.md does not contain the paragraph Names")
	}
	for _, k := range children.Kinds() {
		if k.GroupVersionKind != children.PodNATConfigurationKind && !regexp.MustCompile(`\b`+k.Kind+`\b`).MatchString(names) {
			t.Errorf("the paragraph Names of docs/using.md does not contain %s", k.Kind)
		}
	}
}
