// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOwnedResources fails if the base of the OLM bundle does not list the
// kinds of internal/children.
func TestOwnedResources(t *testing.T) {
	base, err := os.ReadFile(filepath.Join("..", "..", bundleBase))
	if err != nil {
		t.Fatal(err)
	}
	got, err := ownedResources(string(base))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(base), got); diff != "" {
		t.Errorf("%s is not up to date; run make manifests (-file +generated):\n%s", bundleBase, diff)
	}
	without := strings.ReplaceAll(string(base), "      - {name: podnatconfigurations.meshvm.io, kind: PodNATConfiguration, version: v1alpha1}\n", "")
	if again, err := ownedResources(without); err != nil || again != got {
		t.Errorf("a missing kind is not added: %v", err)
	}
	if _, err := ownedResources("spec: {}\n"); err == nil {
		t.Error("a base without the kind is accepted")
	}
}
