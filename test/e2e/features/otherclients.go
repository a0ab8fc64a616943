// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/kube"
	"meshvm.io/meshvm/test/e2e/suite"
)

// awaitCondition waits until a condition of a machine has a reason, and returns its
// message.
func awaitCondition(ctx context.Context, t *suite.T, ms *suite.Machines, name string, c v1alpha1.ConditionType, status metav1.ConditionStatus, reason v1alpha1.ConditionReason) string {
	t.Helper()
	var message string
	t.NoError(ms.Wait(ctx, fmt.Sprintf("%s %s (%s) of %s", c, status, reason, name), func(ctx context.Context) (string, error) {
		m, err := ms.Machine(ctx, ms.Key(name))
		if err != nil {
			return "", err
		}
		now := apimeta.FindStatusCondition(m.Status.Conditions, string(c))
		if now == nil {
			return "the condition", nil
		}
		message = now.Message
		if now.Status != status || now.Reason != string(reason) {
			return fmt.Sprintf("%s (%s): %s", now.Status, now.Reason, now.Message), nil
		}
		return "", nil
	}))
	return message
}

// names are the names of the entries of a list in an object.
func names(o *unstructured.Unstructured, path ...string) []string {
	items, _, _ := unstructured.NestedSlice(o.Object, path...)
	var out []string
	for _, i := range items {
		name, _, _ := unstructured.NestedString(i.(map[string]any), "name")
		out = append(out, name)
	}
	return out
}

// hotplug adds a volume by KubeVirt's own subresource, as "virtctl addvolume --persist"
// does, edits the MeshedVirtualMachine, and removes the volume again. The operator must
// keep the volume and report it.
func hotplug(t *suite.T) {
	ms := t.Machines("hotplug", suite.Machine{Name: "one"})
	ctx := t.Limit(6 * time.Minute)
	call := func(verb, body string) {
		path := fmt.Sprintf("/apis/subresources.kubevirt.io/v1/namespaces/%s/virtualmachines/one/%s", ms.SampleNamespace(), verb)
		var out strings.Builder
		err := ms.Kubectl(ctx, cluster.Stdio{In: strings.NewReader(body), Out: &out, Err: &out}, "replace", "--raw", path, "-f", "-")
		if err != nil {
			t.Fatalf("%s: %v\n%s", verb, err, out.String())
		}
	}
	volumes := func() []string {
		vm := suite.KubeVirtObject("VirtualMachine", ms.Key("one"))
		t.NoError(ms.Get(ctx, ms.Key("one"), vm))
		return names(vm, "spec", "template", "spec", "volumes")
	}
	call("addvolume", `{"name":"data","disk":{"name":"data","serial":"data","disk":{"bus":"scsi"}},"volumeSource":{"persistentVolumeClaim":{"claimName":"data","hotpluggable":true}}}`)
	t.Await(ctx, "KubeVirt to write the volume into the VirtualMachine", func() bool { return slices.Contains(volumes(), "data") })
	message := awaitCondition(ctx, t, ms, "one", v1alpha1.ConditionVirtualMachineAdjusted, metav1.ConditionTrue, v1alpha1.ReasonForeignEntries)
	t.Logf("VirtualMachineAdjusted: %s", message)
	if !strings.Contains(message, "[data]") {
		t.Errorf("the message does not name the volume: %s", message)
	}

	// The operator writes the VirtualMachine for another reason.
	edit := client.RawPatch("application/merge-patch+json", []byte(`{"spec":{"virtualMachine":{"template":{"spec":{"terminationGracePeriodSeconds":1}}}}}`))
	t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), edit))
	t.Await(ctx, "the edit in the VirtualMachine", func() bool {
		vm := suite.KubeVirtObject("VirtualMachine", ms.Key("one"))
		t.NoError(ms.Get(ctx, ms.Key("one"), vm))
		grace, _, _ := unstructured.NestedInt64(vm.Object, "spec", "template", "spec", "terminationGracePeriodSeconds")
		return grace == 1
	})
	if got := volumes(); !slices.Contains(got, "data") {
		t.Errorf("the operator removed the volume: the VirtualMachine has %v", got)
	}

	call("removevolume", `{"name":"data"}`)
	t.Await(ctx, "KubeVirt to remove the volume", func() bool { return !slices.Contains(volumes(), "data") })
	t.Await(ctx, "the condition to disappear", func() bool {
		m, err := ms.Machine(ctx, ms.Key("one"))
		t.NoError(err)
		return apimeta.FindStatusCondition(m.Status.Conditions, string(v1alpha1.ConditionVirtualMachineAdjusted)) == nil
	})
}

// restore deletes a machine and creates its objects again from copies without owner
// references, as a backup tool does. The operator must adopt them, and the virtual
// machine must keep its identity.
func restore(t *suite.T) {
	ms := t.Machines("restore", suite.Machine{Name: "one"})
	ctx := t.Limit(8 * time.Minute)
	m, err := ms.Machine(ctx, ms.Key("one"))
	t.NoError(err)
	backup := []*unstructured.Unstructured{suite.Object("MeshedVirtualMachine", ms.Key("one"))}
	for _, r := range m.Status.RelatedObjects {
		u := &unstructured.Unstructured{}
		u.SetAPIVersion(r.APIVersion)
		u.SetKind(r.Kind)
		u.SetNamespace(ms.SampleNamespace())
		u.SetName(r.Name)
		backup = append(backup, u)
	}
	for _, u := range backup {
		t.NoError(ms.Get(ctx, client.ObjectKeyFromObject(u), u))
	}
	uuid := firmwareUUID(backup)
	t.NoError(ms.DeleteObjects(ctx, []*unstructured.Unstructured{backup[0].DeepCopy()}))
	t.Await(ctx, "the objects to be deleted", func() bool {
		return !slices.ContainsFunc(backup, func(u *unstructured.Unstructured) bool {
			return !apierrors.IsNotFound(ms.Get(ctx, client.ObjectKeyFromObject(u), u.DeepCopy()))
		})
	})

	// The children first, and the PodNATConfiguration of a pod that no longer exists.
	begin := time.Now()
	for _, u := range slices.Backward(backup) {
		again := u.DeepCopy()
		for _, field := range []string{"uid", "resourceVersion", "ownerReferences", "finalizers", "managedFields", "creationTimestamp", "generation"} {
			unstructured.RemoveNestedField(again.Object, "metadata", field)
		}
		for _, field := range []string{"clusterIP", "clusterIPs"} {
			unstructured.RemoveNestedField(again.Object, "spec", field)
		}
		unstructured.RemoveNestedField(again.Object, "status")
		t.NoError(ms.Create(ctx, again))
	}
	ms.AwaitReady(ctx, t, "one")
	ms.AwaitGuest(ctx, t, "one")
	t.Logf("restored %d objects without owner references: Ready and the guest answers after %.1f s", len(backup), time.Since(begin).Seconds())

	now, err := ms.Machine(ctx, ms.Key("one"))
	t.NoError(err)
	for _, u := range backup[1:] {
		if u.GetKind() == "PodNATConfiguration" {
			t.Await(ctx, "the PodNATConfiguration "+u.GetName()+" of a pod that no longer exists to be deleted", func() bool {
				return apierrors.IsNotFound(ms.Get(ctx, client.ObjectKeyFromObject(u), u.DeepCopy()))
			})
			continue
		}
		t.NoError(ms.Get(ctx, client.ObjectKeyFromObject(u), u))
		if ref := metav1.GetControllerOf(u); ref == nil || ref.UID != now.UID {
			t.Errorf("%s %s is controlled by %v, want the restored MeshedVirtualMachine", u.GetKind(), u.GetName(), ref)
		}
	}
	if got := firmwareUUID(backup); got != uuid {
		t.Errorf("the virtual machine has the firmware UUID %q, before the restore %q", got, uuid)
	}
}

func firmwareUUID(objects []*unstructured.Unstructured) string {
	for _, u := range objects {
		if u.GetKind() == "VirtualMachine" {
			uuid, _, _ := unstructured.NestedString(u.Object, "spec", "template", "spec", "domain", "firmware", "uuid")
			return uuid
		}
	}
	return ""
}

// permissive is a policy of another client that selects the pods of machine "one".
const permissive = `
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: legacy, namespace: %s}
spec:
  selector: {matchLabels: {meshvm.io/meshed-virtual-machine: one}}
  mtls: {mode: PERMISSIVE}
`

// shadowed creates an older PeerAuthentication of another client that selects the
// same pod. Istio applies the oldest. While the proxy accepts plain text, the status
// must not report that the policy is effective.
func shadowed(t *suite.T) {
	ms := t.Machines("shadowed", suite.Machine{Name: "one"})
	ms.NeedsEnvoy(t)
	ctx := t.Limit(6 * time.Minute)
	plain := func() bool {
		out, err := ms.From(ctx, ms.Clients.Outside, "get", "http://"+ms.Pods["one"].Status.PodIP+":8080/")
		return err == nil && strings.Contains(out, "hello from guest one")
	}
	if plain() {
		t.Error("the proxy accepts plain text before the other policy exists")
	}
	// The operator's policy is created again, so that it is the newer one.
	legacy := fmt.Appendf(nil, permissive, ms.SampleNamespace())
	t.NoError(ms.ApplyManifest(ctx, legacy))
	own := &unstructured.Unstructured{}
	own.SetAPIVersion("security.istio.io/v1")
	own.SetKind("PeerAuthentication")
	own.SetNamespace(ms.SampleNamespace())
	own.SetName("one")
	t.NoError(ms.Delete(ctx, own.DeepCopy()))
	message := awaitCondition(ctx, t, ms, "one", v1alpha1.ConditionMeshPolicyEffective, metav1.ConditionFalse, v1alpha1.ReasonShadowed)
	t.Logf("MeshPolicyEffective: %s", message)
	t.Await(ctx, "the proxy to accept plain text", plain)
	m, err := ms.Machine(ctx, ms.Key("one"))
	t.NoError(err)
	t.Logf("plain text is answered; status.mtls.effectiveMode is %s", m.Status.MTLS.EffectiveMode)
	if ready := apimeta.FindStatusCondition(m.Status.Conditions, string(v1alpha1.ConditionReady)); ready.Status != metav1.ConditionFalse {
		t.Errorf("Ready is %s (%s) while plain text is answered", ready.Status, ready.Reason)
	}
	if m.Status.MTLS.EffectiveMode != v1alpha1.MTLSModePermissive {
		t.Errorf("status.mtls.effectiveMode is %s while plain text is answered", m.Status.MTLS.EffectiveMode)
	}

	objects, err := kube.Decode(legacy)
	t.NoError(err)
	t.NoError(ms.DeleteObjects(ctx, objects))
	ms.AwaitReady(ctx, t, "one")
	t.Await(ctx, "the proxy to refuse plain text", func() bool { return !plain() })
}
