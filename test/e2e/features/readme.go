// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/e2e/suite"
)

// documented applies the objects of the README, with the image and the memory of the tests'
// guest. The machine must be Ready with Strict mutual TLS, and the documented ports must
// respond to clients inside and outside of the mesh. Then its canary gets its share of requests.
func documented(t *suite.T) {
	t.Operator()
	s := t.Namespace("readme")
	ctx := t.Limit(10 * time.Minute)
	text, err := os.ReadFile(filepath.Join(s.Builder().Repo, "README.md"))
	t.NoError(err)
	blocks := strings.Split(string(text), "```yaml\n")
	if len(blocks) != 3 {
		t.Fatalf("README.md contains %d YAML blocks, want a machine and a canary", len(blocks)-1)
	}
	t.NoError(s.ApplyMachines(ctx, testGuests(t, blocks[1])))
	clients, err := s.MakeClients(ctx)
	t.NoError(err)
	pod, err := s.ReadyPod(ctx, s.SampleKey())
	t.NoError(err)
	t.NoError(s.AwaitGuest(ctx, clients))
	t.Await(ctx, "mutual TLS of the mode Strict", func() bool {
		m, err := s.MeshedVirtualMachine(ctx)
		t.NoError(err)
		return m.Status.MTLS.EffectiveMode == v1alpha1.MTLSModeStrict
	})
	t.Await(ctx, "the banner of the port ssh", func() bool {
		out, err := s.From(ctx, clients.Outside, "tcp", net.JoinHostPort(pod.Status.PodIP, "22"))
		return err == nil && strings.HasPrefix(out, "SSH-2.0-")
	})

	t.NoError(s.ApplyMachines(ctx, testGuests(t, blocks[2])))
	canaryKey := client.ObjectKey{Namespace: s.SampleKey().Namespace, Name: s.SampleKey().Name + "-canary"}
	_, err = s.ReadyPod(ctx, canaryKey)
	t.NoError(err)
	const n = 1000
	count := 0
	t.Await(ctx, "7 to 13 percent of the requests at the canary", func() bool {
		out, err := s.From(ctx, clients.Inside, "repeat", strconv.Itoa(n), "http://"+s.ServiceURL())
		count = strings.Count(out, "hello from guest "+canaryKey.Name+":")
		return err == nil && count >= n*7/100 && count <= n*13/100
	})
	t.Logf("the canary of the README answered %d of %d requests", count, n)
}

// testGuests returns the objects at the start of a text, up to the end of its block, with
// the image and the memory of the tests' guest.
func testGuests(t *suite.T, text string) []byte {
	t.Helper()
	block, _, closed := strings.Cut(text, "```")
	if !closed {
		t.Fatal("a YAML block of README.md has no end")
	}
	var out []byte
	for document := range strings.SplitSeq(block, "---\n") {
		machine := map[string]any{}
		t.NoError(yaml.Unmarshal([]byte(document), &machine))
		name, _, _ := unstructured.NestedString(machine, "metadata", "name")
		spec := []string{"spec", "virtualMachine", "template", "spec"}
		unstructured.RemoveNestedField(machine, append(spec, "volumes")...)
		t.NoError(unstructured.SetNestedField(machine, "256Mi", append(spec, "domain", "memory", "guest")...))
		t.NoError(unstructured.SetNestedMap(machine, map[string]any{
			"kernelArgs": "console=ttyS0 panic=-1 guest.name=" + name,
			"container":  map[string]any{"image": builder.GuestImage, "kernelPath": "/boot/vmlinuz", "initrdPath": "/boot/initrd"},
		}, append(spec, "domain", "firmware", "kernelBoot")...))
		manifest, err := yaml.Marshal(machine)
		t.NoError(err)
		out = append(append(out, "---\n"...), manifest...)
	}
	return out
}
