// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"io"
	"log"
	"maps"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/operator-framework/api/pkg/manifests"
	"github.com/operator-framework/api/pkg/validation"
)

// images is the output directory of "make images".
const images = "dist/images"

// requireImages, if "1" in the environment, makes TestArchitectures fail
// instead of being skipped.
const requireImages = "MESHVM_REQUIRE_IMAGES"

// TestArchitectures runs the validator "multiarch" of operator-framework/api,
// which compares the labels of the bundle with the output of "make images". The
// validator pulls the images with podman from a registry into a storage that
// both exist only during the test.
func TestArchitectures(t *testing.T) {
	skip := t.Skipf //nolint:forbidigo // The variable below makes it a failure.
	if os.Getenv(requireImages) == "1" {
		skip = t.Fatalf
	}
	repo, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(repo, images, "index.json")); err != nil {
		skip("%v: make images", err)
	}
	if _, err := exec.LookPath("podman"); err != nil {
		skip("%v: apt-get install podman", err)
	}
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	push := exec.Command("go", "run", "./hack/images", "push", "-out", images, "-registry", host+"/meshvm")
	push.Dir = repo
	out, err := push.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("pushed\n%s", out)
	configurePodman(t, host)

	b := bundleOf(t, host)
	const name = "multiarch"
	tool := map[string]string{"container-tools": "podman"}
	runValidator(t, name, validation.MultipleArchitecturesValidator, []any{b, tool})

	// The validator ignores images that it cannot inspect. To detect this, an
	// additional label without an image must result in an error for each image.
	b.CSV.Labels["operatorframework.io/arch.riscv64"] = "supported"
	var said strings.Builder
	for _, r := range validation.MultipleArchitecturesValidator.Validate(b, tool) {
		for _, e := range r.Errors {
			said.WriteString(e.Error())
		}
	}
	for _, r := range b.CSV.Spec.RelatedImages {
		if !strings.Contains(said.String(), r.Image) {
			t.Errorf("the validator did not report riscv64 for %s: %q", r.Image, said.String())
		}
	}
}

// bundleOf returns the bundle with the images in another registry.
func bundleOf(t *testing.T, host string) *manifests.Bundle {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(bundleDir)); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "manifests/meshvm.clusterserviceversion.yaml")
	csv, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	csv = []byte(strings.ReplaceAll(string(csv), "localhost/meshvm/", host+"/meshvm/"))
	if err := os.WriteFile(path, csv, 0o600); err != nil {
		t.Fatal(err)
	}
	b, err := manifests.GetBundleFromDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// configurePodman configures a separate storage and policy for podman, and
// access to the registry without TLS (containers-registries.conf(5),
// containers-storage.conf(5), containers-policy.json(5)).
func configurePodman(t *testing.T, host string) {
	t.Helper()
	home := t.TempDir()
	files := map[string]string{
		"registries.conf":                "[[registry]]\nlocation = \"" + host + "\"\ninsecure = true\n",
		"storage.conf":                   "[storage]\ndriver = \"vfs\"\ngraphroot = \"" + home + "/graph\"\nrunroot = \"" + home + "/run\"\n",
		".config/containers/policy.json": `{"default": [{"type": "insecureAcceptAnything"}]}`,
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		path := filepath.Join(home, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(files[name]), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("HOME", home)
	t.Setenv("CONTAINERS_REGISTRIES_CONF", filepath.Join(home, "registries.conf"))
	t.Setenv("CONTAINERS_STORAGE_CONF", filepath.Join(home, "storage.conf"))
}
