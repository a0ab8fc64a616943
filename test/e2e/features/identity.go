// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"meshvm.io/meshvm/api/v1alpha1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/scenario"
	"meshvm.io/meshvm/test/e2e/suite"
)

// identity gives a service account to one of two machines. After its restart, the other
// machine must allow and deny its requests, and those of a client with the service account
// default, by their identities.
func identity(t *suite.T) {
	ms := t.Machines("identity", suite.Machine{Name: "one"}, suite.Machine{Name: "two"})
	ctx := t.Limit(8 * time.Minute)
	const account = "worker"
	edit := func(name, mesh string) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"mesh":`+mesh+`}}`))
		t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key(name)), patch))
	}
	const allowed, refused = "allowed", "refused"
	fromGuest := func() string {
		out, err := ms.From(ctx, ms.Clients.Inside, "get", "http://two/get?"+
			url.Values{"url": {"http://one." + ms.SampleNamespace() + ".svc.cluster.local/"}}.Encode())
		var r response
		switch err := errors.Join(err, json.Unmarshal([]byte(out), &r)); {
		case err != nil:
			return err.Error()
		case r.Code == http.StatusOK:
			return allowed
		case r.Code == http.StatusForbidden:
			return refused
		default:
			return fmt.Sprintf("%+v", r)
		}
	}
	fromClient := func() string {
		out, err := ms.From(ctx, ms.Clients.Inside, "get", "http://one/")
		switch {
		case err == nil && strings.Contains(out, "hello from guest one"):
			return allowed
		case err == nil && strings.Contains(out, denied):
			return refused
		default:
			return fmt.Sprintf("%q, %v", out, err)
		}
	}
	// awaitAllowed waits until ten requests in succession of machine two, and ten of the client, have these results.
	// The proxy closes older connections, to which an older policy applies, after a while.
	awaitAllowed := func(what, guest, other string) {
		const tries = 10
		requests := 0
		t.Await(ctx, what, func() bool {
			for range tries {
				requests++
				if fromGuest() != guest || fromClient() != other {
					return false
				}
			}
			return true
		})
		t.Logf("%s: %d of %d requests of machine two %s, %d of %d of the client %s, after %d requests of each", what, tries, tries, guest, tries, tries, other, requests)
	}
	t.NoError(ms.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ms.SampleNamespace(), Name: account}}))
	edit("one", `{"allow":[{"serviceAccount":"`+account+`"}]}`)
	edit("two", `{"identity":{"serviceAccountName":"`+account+`"}}`)
	message := awaitCondition(ctx, t, ms, "two", v1alpha1.ConditionRestartRequired, "True", v1alpha1.ReasonRestartRequired)
	if !strings.Contains(message, "mesh.identity.serviceAccountName is "+account+" and the pod has default") {
		t.Errorf("the message does not name the service accounts: %s", message)
	}
	awaitAllowed("only "+account+", before the restart", refused, refused)

	old := ms.Pods["two"]
	t.NoError(ms.Delete(ctx, suite.KubeVirtObject("VirtualMachineInstance", ms.Key("two"))))
	t.Await(ctx, "another pod", func() bool {
		m, err := ms.Machine(ctx, ms.Key("two"))
		return err == nil && len(m.Status.Pods) == 1 && m.Status.Pods[0].UID != old.UID
	})
	pod := ms.AwaitReady(ctx, t, "two")
	ms.AwaitGuest(ctx, t, "two")
	if pod.Spec.ServiceAccountName != account || pod.Spec.DeprecatedServiceAccount != account {
		t.Errorf("the pod has the service accounts %q and %q", pod.Spec.ServiceAccountName, pod.Spec.DeprecatedServiceAccount)
	}
	awaitAllowed("only "+account, allowed, refused)
	edit("one", `{"allow":[{"serviceAccount":"default"}]}`)
	awaitAllowed("only default", refused, allowed)

	peer := "/ns/" + ms.SampleNamespace() + "/sa/" + account
	t.Await(ctx, "the access log to contain the identity "+peer, func() bool {
		all, err := ms.Connections(ctx, ms.Pods["one"])
		return err == nil && slices.ContainsFunc(all, func(c scenario.Connection) bool { return strings.HasSuffix(c.Peer, peer) && c.Code == http.StatusOK })
	})
}
