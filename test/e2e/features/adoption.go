// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	kubevirtv1 "kubevirt.io/api/core/v1"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// ownMachine is a VirtualMachine of a user with a Service, in YAML. NAME is its name, and
// METADATA the metadata of its template.
const ownMachine = `
apiVersion: kubevirt.io/v1
kind: VirtualMachine
metadata: {name: NAME, labels: {team: a}}
spec:
  runStrategy: Always
  template:
    metadata: METADATA
    spec:
      terminationGracePeriodSeconds: 0
      domain:
        memory: {guest: 256Mi}
        devices:
          disks: [{name: data, disk: {bus: virtio}}]
          interfaces: [{name: default, masquerade: {}}]
        firmware:
          kernelBoot:
            kernelArgs: console=ttyS0 panic=-1 guest.name=NAME
            container: {image: "localhost/meshvm/guest:dev", kernelPath: /boot/vmlinuz, initrdPath: /boot/initrd}
      networks: [{name: default, pod: {}}]
      volumes: [{name: data, emptyDisk: {capacity: 16Mi}}]
---
apiVersion: v1
kind: Service
metadata: {name: NAME}
spec:
  selector: {vmi.kubevirt.io/id: NAME}
  ports: [{name: http, port: 80, targetPort: 8080}]
`

// adopter is a MeshedVirtualMachine that adopts VirtualMachine NAME.
const adopter = `
apiVersion: meshvm.io/v1alpha1
kind: MeshedVirtualMachine
metadata: {name: NAME-mesh}
spec:
  existingVirtualMachine: {name: NAME}
  ports: [{name: http, port: 80, targetPort: 8080, appProtocol: http}]
`

// adoption adopts the VirtualMachines of two running guests. The guest with a sidecar joins
// the mesh in its pod. The guest without one requires a restart. The release of the first one
// leaves the VirtualMachine as it was.
func adoption(t *suite.T) {
	t.Operator()
	s := t.Namespace("adoption")
	ctx := t.Limit(8 * time.Minute)
	ms := &suite.Machines{Scenario: s, T: t, Pods: map[string]*corev1.Pod{}}
	var err error
	ms.Clients, err = s.MakeClients(ctx)
	t.NoError(err)
	// Without the label of the namespace, only pods with the label of the pod get a sidecar.
	namespace := &corev1.Namespace{}
	namespace.Name = s.SampleNamespace()
	t.NoError(s.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"istio-injection":null}}}`))))
	for name, metadata := range map[string]string{
		"db":   `{labels: {sidecar.istio.io/inject: "true", app: db}, annotations: {sidecar.istio.io/inject: "true"}}`,
		"bare": `{labels: {app: bare}}`,
	} {
		t.DeleteAfter(suite.KubeVirtObject("VirtualMachine", ms.Key(name)))
		t.NoError(s.ApplyMachines(ctx, []byte(strings.NewReplacer("NAME", name, "METADATA", metadata).Replace(ownMachine))))
	}
	ms.AwaitGuest(ctx, t, "bare")
	ms.AwaitGuest(ctx, t, "db")
	ms.Pods["db"] = guestPod(ctx, t, ms, "db")
	ms.NeedsEnvoy(t)

	bareNeedsRestart(ctx, t, ms)
	before := takeMachine(ctx, t, ms, "db")
	plain := func() bool { // plain text is answered
		out, err := ms.From(ctx, ms.Clients.Outside, "get", "http://"+ms.Pods["db"].Status.PodIP+":8080/")
		return err == nil && strings.Contains(out, "hello from guest db")
	}
	t.Await(ctx, "an answer in plain text before the adoption", plain)
	adopted(ctx, t, ms, before, plain)
	released(ctx, t, ms, before, plain)
}

// bareNeedsRestart adopts the guest without a sidecar, which continues to run.
func bareNeedsRestart(ctx context.Context, t *suite.T, ms *suite.Machines) {
	t.Helper()
	before := takeMachine(ctx, t, ms, "bare")
	t.NoError(ms.ApplyMachines(ctx, []byte(strings.ReplaceAll(adopter, "NAME", "bare"))))
	awaitCondition(ctx, t, ms, "bare-mesh", v1alpha1.ConditionAdopted, "True", v1alpha1.ReasonAdopted)
	message := awaitCondition(ctx, t, ms, "bare-mesh", v1alpha1.ConditionRestartRequired, "True", v1alpha1.ReasonSidecarMissing)
	if !strings.Contains(message, "restart the guest with: virtctl") {
		t.Errorf("the message does not name the command: %s", message)
	}
	before.sameGuest(t, takeMachine(ctx, t, ms, "bare"))
	t.Logf("the guest without a sidecar: %s", message)
}

// adopted adopts VirtualMachine db. The pod gets the rules without a restart, and its proxy
// then requires mutual TLS.
func adopted(ctx context.Context, t *suite.T, ms *suite.Machines, before machineState, plain func() bool) {
	t.Helper()
	traffic := ms.StartRequests(ctx, ms.Clients.Inside, "new-connections=http://db/", "one-connection=keep+http://db/")
	begin := time.Now()
	t.NoError(ms.ApplyMachines(ctx, []byte(strings.ReplaceAll(adopter, "NAME", "db"))))
	ms.AwaitReady(ctx, t, "db-mesh")
	ready := time.Since(begin)
	t.Await(ctx, "the proxy to refuse plain text", func() bool { return !plain() })
	refused := time.Since(begin)
	t.Await(ctx, "an answer through the Service of the operator", func() bool {
		out, err := ms.From(ctx, ms.Clients.Inside, "get", "http://db-mesh/")
		return err == nil && strings.Contains(out, "hello from guest db")
	})
	report(t, traffic, fmt.Sprintf("the adoption: Ready after %.1f s, plain text refused after %.1f s", ready.Seconds(), refused.Seconds()))
	m, err := ms.Machine(ctx, ms.Key("db-mesh"))
	t.NoError(err)
	if m.Status.MTLS.EffectiveMode != v1alpha1.MTLSModeStrict {
		t.Errorf("the effective mode is %s", m.Status.MTLS.EffectiveMode)
	}
	if c := apimeta.FindStatusCondition(m.Status.Conditions, string(v1alpha1.ConditionNATProgrammed)); c == nil || c.Status != "True" || ms.Pods["db-mesh"].UID != before.pod {
		t.Errorf("the rules of pod %s, which is %s, are %+v", before.pod, ms.Pods["db-mesh"].UID, c)
	}
	if apimeta.FindStatusCondition(m.Status.Conditions, string(v1alpha1.ConditionRestartRequired)) != nil {
		t.Error("a restart is required")
	}
	now := takeMachine(ctx, t, ms, "db")
	before.sameGuest(t, now)
	if now.labels[v1alpha1.LabelMeshedVirtualMachine] != "db-mesh" {
		t.Errorf("the labels of the template are %v", now.labels)
	}
}

// released deletes the MeshedVirtualMachine of VirtualMachine db.
func released(ctx context.Context, t *suite.T, ms *suite.Machines, before machineState, plain func() bool) {
	t.Helper()
	traffic := ms.StartRequests(ctx, ms.Clients.Inside, "new-connections=http://db/", "one-connection=keep+http://db/")
	begin := time.Now()
	var out strings.Builder
	if err := ms.Kubectl(ctx, cluster.Stdio{Out: &out, Err: &out}, "-n", ms.SampleNamespace(), "delete", "mvm", "db-mesh", "--cascade=foreground", "--timeout=2m"); err != nil {
		t.Fatalf("the release: %v\n%s", err, out.String())
	}
	gone := time.Since(begin)
	t.Await(ctx, "the proxy to accept plain text", plain)
	report(t, traffic, fmt.Sprintf("the release: %.1f s, plain text accepted after %.1f s", gone.Seconds(), time.Since(begin).Seconds()))
	now := takeMachine(ctx, t, ms, "db")
	before.sameGuest(t, now)
	if now.spec != before.spec {
		t.Errorf("the spec of the VirtualMachine was\n%s\nand is now\n%s", before.spec, now.spec)
	}
	tables, err := ms.PodNetnsExec(ctx, string(before.pod), "nft", "list", "tables")
	t.NoError(err)
	if strings.Contains(tables, "meshvm") {
		t.Errorf("the pod still has the table of the operator:\n%s", tables)
	}
	for _, nat := range ms.NATObjects(ctx, t) {
		if nat.GetLabels()[v1alpha1.LabelMeshedVirtualMachine] == "db-mesh" {
			t.Errorf("PodNATConfiguration %s remains", nat.GetName())
		}
	}
	if err := ms.Get(ctx, ms.Key("db-mesh"), &corev1.Service{}); !apierrors.IsNotFound(err) {
		t.Errorf("the Service of the operator remains: %v", err)
	}
	ms.AwaitGuest(ctx, t, "db")
}

// report stops the traffic and prints the numbers. They have no limit: an established
// connection ends when the policy of its proxy changes.
func report(t *suite.T, traffic *scenario.Watch, what string) {
	t.Helper()
	seen, err := traffic.Stop()
	t.NoError(err)
	for _, w := range seen {
		t.Logf("%s; %s: %d of %d requests failed, longest time between answers %d ms %s", what, w.Name, w.Failed, w.Sent, w.LongestMS, w.First)
	}
}

// machineState is the state of a VirtualMachine and its guest.
type machineState struct {
	machine, instance, pod types.UID
	// spec and guest are the specs of the VirtualMachine and of its template, as JSON.
	spec, guest string
	labels      map[string]string
	volumes     string
}

func takeMachine(ctx context.Context, t *suite.T, ms *suite.Machines, name string) machineState {
	t.Helper()
	vm, vmi := suite.KubeVirtObject("VirtualMachine", ms.Key(name)), suite.KubeVirtObject("VirtualMachineInstance", ms.Key(name))
	t.NoError(ms.Get(ctx, ms.Key(name), vm))
	t.NoError(ms.Get(ctx, ms.Key(name), vmi))
	text := func(o *unstructured.Unstructured, path ...string) string {
		value, _, err := unstructured.NestedFieldNoCopy(o.Object, path...)
		t.NoError(err)
		out, err := json.Marshal(value)
		t.NoError(err)
		return string(out)
	}
	labels, _, err := unstructured.NestedStringMap(vm.Object, "spec", "template", "metadata", "labels")
	t.NoError(err)
	return machineState{
		machine: vm.GetUID(), instance: vmi.GetUID(), pod: guestPod(ctx, t, ms, name).UID,
		spec: text(vm, "spec"), guest: text(vm, "spec", "template", "spec"), labels: labels,
		volumes: text(vmi, "spec", "volumes"),
	}
}

// sameGuest checks that the guest is the same, with the same disks.
func (m machineState) sameGuest(t *suite.T, now machineState) {
	t.Helper()
	if m.machine != now.machine || m.instance != now.instance || m.pod != now.pod {
		t.Errorf("the UIDs of the VirtualMachine, the guest and its pod were %s, %s and %s, and are now %s, %s and %s",
			m.machine, m.instance, m.pod, now.machine, now.instance, now.pod)
	}
	if m.guest != now.guest || m.volumes != now.volumes {
		t.Errorf("the guest was\n%s, volumes %s\nand is now\n%s, volumes %s", m.guest, m.volumes, now.guest, now.volumes)
	}
}

// guestPod returns the only pod of a guest.
func guestPod(ctx context.Context, t *suite.T, ms *suite.Machines, name string) *corev1.Pod {
	t.Helper()
	var pods corev1.PodList
	t.NoError(ms.List(ctx, &pods, client.InNamespace(ms.SampleNamespace()), client.MatchingLabels{kubevirtv1.VirtualMachineInstanceIDLabel: name}))
	if len(pods.Items) != 1 {
		t.Fatalf("guest %s has %d pods", name, len(pods.Items))
	}
	return &pods.Items[0]
}
