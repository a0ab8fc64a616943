// SPDX-License-Identifier: Apache-2.0

//go:build linux

package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"meshvm.io/meshvm/internal/requirement"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
)

// Machine describes a MeshedVirtualMachine of a test.
type Machine struct {
	Name    string
	Version string
	// Service is the field service in YAML, on one line.
	Service string
	// HTTP are additional fields of the port http in YAML.
	HTTP string
	// Lines are additional fields of the port lines in YAML.
	Lines string
	// Template are additional fields of the VirtualMachineInstance's spec in YAML,
	// on one line.
	Template string
}

// Manifest returns the machine in YAML. Its guest reports its name. The namespace
// is set when the manifest is applied.
func (m Machine) Manifest() []byte {
	out := `
apiVersion: meshvm.io/v1alpha1
kind: MeshedVirtualMachine
metadata: {name: %[1]s}
spec:
`
	if m.Version != "" {
		out += "  version: " + m.Version + "\n"
	}
	if m.Service != "" {
		out += "  service: " + m.Service + "\n"
	}
	out += `  virtualMachine:
    runStrategy: Always
    template:
      metadata: {labels: {family: two}}
      spec:
        terminationGracePeriodSeconds: 0
`
	if m.Template != "" {
		out += "        " + m.Template + "\n"
	}
	out += `        domain:
          memory: {guest: 256Mi}
          devices: {}
          firmware:
            kernelBoot:
              kernelArgs: console=ttyS0 panic=-1 guest.name=%[1]s
              container: {image: "localhost/meshvm/guest:dev", kernelPath: /boot/vmlinuz, initrdPath: /boot/initrd}
  ports:
  - {name: http, port: 80, targetPort: 8080, appProtocol: http%[2]s}
  - {name: lines, port: 9100, appProtocol: tcp%[3]s}
`
	more := func(fields string) string {
		if fields == "" {
			return ""
		}
		return ", " + fields
	}
	return fmt.Appendf(nil, out, m.Name, more(m.HTTP), more(m.Lines))
}

// Machines are machines in one namespace with two clients.
type Machines struct {
	*scenario.Scenario
	T *T
	// Pods are the virt-launcher pods by the names of the machines.
	Pods    map[string]*corev1.Pod
	Clients scenario.Clients
}

// Machines deploys the operator, creates machines in a namespace of the test, and
// waits until their guests answer.
func (t *T) Machines(namespace string, machines ...Machine) *Machines {
	t.Helper()
	t.Operator()
	begin := time.Now()
	s := t.Namespace(namespace)
	ctx := t.Limit(10 * time.Minute)
	for _, m := range machines {
		t.NoError(s.ApplyMachines(ctx, m.Manifest()))
	}
	ms := &Machines{Scenario: s, T: t, Pods: map[string]*corev1.Pod{}}
	var err error
	ms.Clients, err = s.MakeClients(ctx)
	t.NoError(err)
	for _, m := range machines {
		ms.AwaitReady(ctx, t, m.Name)
		ms.AwaitGuest(ctx, t, m.Name)
		t.CheckSkew(ctx, s, ms.Pods[m.Name])
	}
	t.Logf("%d machines in %s are Ready and their guests answer after %.1f s", len(machines), s.SampleNamespace(), time.Since(begin).Seconds())
	return ms
}

// Key returns the key of a machine's objects.
func (ms *Machines) Key(name string) client.ObjectKey {
	return client.ObjectKey{Namespace: ms.SampleNamespace(), Name: name}
}

// AwaitReady waits until a machine is Ready, and records its pod.
func (ms *Machines) AwaitReady(ctx context.Context, t *T, name string) *corev1.Pod {
	t.Helper()
	pod, err := ms.ReadyPod(ctx, ms.Key(name))
	t.NoError(err)
	ms.Pods[name] = pod
	return pod
}

// AwaitGuest waits until the web server of a guest answers through the mesh.
func (ms *Machines) AwaitGuest(ctx context.Context, t *T, name string) {
	t.Helper()
	t.NoError(ms.Wait(ctx, "guest "+name, func(ctx context.Context) (string, error) {
		out, err := ms.From(ctx, ms.Clients.Inside, "get", "http://"+name+"/")
		if err != nil || !strings.Contains(out, "hello from guest "+name) {
			return fmt.Sprintf("its web server: %q (error: %v)", out, err), nil
		}
		return "", nil
	}))
}

// AskGuest sends a request to a guest's web server through the mesh and decodes
// the answer.
func (ms *Machines) AskGuest(ctx context.Context, t *T, name, path string, into any) {
	t.Helper()
	out, err := ms.From(ctx, ms.Clients.Inside, "get", "http://"+name+"/"+path)
	t.NoError(err)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("guest %s answered %q: %v", name, out, err)
	}
}

// InstanceUID returns the UID of a machine's VirtualMachineInstance.
func (ms *Machines) InstanceUID(ctx context.Context, t *T, name string) types.UID {
	t.Helper()
	u := KubeVirtObject("VirtualMachineInstance", ms.Key(name))
	t.NoError(ms.Get(ctx, ms.Key(name), u))
	return u.GetUID()
}

// NATObjects returns the PodNATConfigurations of the namespace.
func (ms *Machines) NATObjects(ctx context.Context, t *T) []unstructured.Unstructured {
	t.Helper()
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("PodNATConfigurationList"))
	t.NoError(ms.List(ctx, list, client.InNamespace(ms.SampleNamespace())))
	return list.Items
}

// NeedsEnvoy skips a test if the proxies are stand-ins.
func (ms *Machines) NeedsEnvoy(t *T) {
	t.Helper()
	for _, pod := range ms.Pods {
		if ms.StandIn(pod) {
			requirement.Cluster.Unmet(t, "Envoy is not available on this machine: the proxies are stand-ins without TLS and routes")
		}
	}
}
