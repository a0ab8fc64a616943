// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/yaml"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/e2e/suite"
)

// documented applies the first object of the README, with the image and the memory of the tests'
// guest. The machine must be Ready with Strict mutual TLS, and the documented ports must
// respond to clients inside and outside of the mesh.
func documented(t *suite.T) {
	t.Operator()
	s := t.Namespace("readme")
	ctx := t.Limit(8 * time.Minute)
	text, err := os.ReadFile(filepath.Join(s.Builder().Repo, "README.md"))
	t.NoError(err)
	_, block, found := strings.Cut(string(text), "```yaml\n")
	block, _, closed := strings.Cut(block, "```")
	if !found || !closed {
		t.Fatal("README.md contains no YAML")
	}
	machine := map[string]any{}
	t.NoError(yaml.Unmarshal([]byte(block), &machine))
	spec := []string{"spec", "virtualMachine", "template", "spec"}
	unstructured.RemoveNestedField(machine, append(spec, "volumes")...)
	t.NoError(unstructured.SetNestedField(machine, "256Mi", append(spec, "domain", "memory", "guest")...))
	t.NoError(unstructured.SetNestedMap(machine, map[string]any{
		"kernelArgs": "console=ttyS0 panic=-1 guest.name=web",
		"container":  map[string]any{"image": builder.GuestImage, "kernelPath": "/boot/vmlinuz", "initrdPath": "/boot/initrd"},
	}, append(spec, "domain", "firmware", "kernelBoot")...))
	manifest, err := yaml.Marshal(machine)
	t.NoError(err)
	t.NoError(s.ApplyMachines(ctx, manifest))
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
}
