// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// settle is the time for which traffic is observed after the operator has applied an
// edit. Within that time, istiod sends changed routes to the proxies.
const settle = 10 * time.Second

// version edits the version of a running machine while a client in the mesh sends
// requests. No request may fail. After a restart, the pod and the routes have the new
// version.
func version(t *suite.T) {
	ms := t.Machines("version", suite.Machine{Name: "one"})
	ctx := t.Limit(8 * time.Minute)
	old := ms.Pods["one"]
	traffic := ms.StartRequests(ctx, ms.Clients.Inside, "new-connections=http://one/", "one-connection=keep+http://one/")
	time.Sleep(2 * time.Second) // traffic before the edit
	edit := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"version":"v2"}}`))
	err := ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), edit)
	if err == nil {
		message := awaitCondition(ctx, t, ms, "one", v1alpha1.ConditionRestartRequired, "True", v1alpha1.ReasonRestartRequired)
		if !strings.Contains(message, old.Name+" has version v1") {
			t.Errorf("the message does not name the version of the pod: %s", message)
		}
		time.Sleep(settle) // traffic after the edit
	}
	seen, stopErr := traffic.Stop()
	t.NoError(err)
	t.NoError(stopErr)
	scenario.ReportWatch(t, seen)

	t.NoError(ms.Delete(ctx, suite.KubeVirtObject("VirtualMachineInstance", ms.Key("one"))))
	t.Await(ctx, "another pod", func() bool {
		m, err := ms.Machine(ctx, ms.Key("one"))
		t.NoError(err)
		return len(m.Status.Pods) == 1 && m.Status.Pods[0].UID != old.UID
	})
	ms.AwaitReady(ctx, t, "one")
	ms.AwaitGuest(ctx, t, "one")
	if got := ms.Pods["one"].Labels[v1alpha1.LabelVersion]; got != "v2" {
		t.Errorf("the pod has version %q after the restart", got)
	}
	rule := &unstructured.Unstructured{}
	rule.SetAPIVersion("networking.istio.io/v1")
	rule.SetKind("DestinationRule")
	t.NoError(ms.Get(ctx, ms.Key("one"), rule))
	if got := names(rule, "spec", "subsets"); len(got) != 1 || got[0] != "v2" {
		t.Errorf("the subsets are %v after the restart", got)
	}
}
