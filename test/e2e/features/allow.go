// SPDX-License-Identifier: Apache-2.0

//go:build linux

package features

import (
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/e2e/suite"
)

// denied is the response of Envoy to a request that no policy allows.
const denied = "RBAC: access denied"

// allow limits the clients of a running machine, to another service account and to the
// one of the client, and removes the limit. The guest's proxy must deny and allow the
// requests of the client without a restart.
func allow(t *suite.T) {
	ms := t.Machines("allow", suite.Machine{Name: "one"})
	ctx := t.Limit(6 * time.Minute)
	edit := func(mesh string) {
		patch := client.RawPatch(types.MergePatchType, []byte(`{"spec":{"mesh":`+mesh+`}}`))
		t.NoError(ms.Patch(ctx, suite.Object("MeshedVirtualMachine", ms.Key("one")), patch))
	}
	awaitResponse := func(what, text string) {
		t.Await(ctx, what, func() bool {
			out, err := ms.From(ctx, ms.Clients.Inside, "get", "http://one/")
			return err == nil && strings.Contains(out, text)
		})
	}
	awaitResponse("a response without a policy", "one")
	pod := ms.Pods["one"]

	edit(`{"allow":[{"serviceAccount":"another","ports":["http"]}]}`)
	awaitResponse("the proxy to deny the client", denied)

	edit(`{"allow":[{"serviceAccount":"` + ms.Clients.Inside.Spec.ServiceAccountName + `"}]}`)
	awaitResponse("the proxy to allow the client", "one")

	edit(`{"allow":[{"namespace":"another"}]}`)
	awaitResponse("the proxy to deny the client's namespace", denied)

	edit("null")
	awaitResponse("a response after the policy was removed", "one")
	policy := &unstructured.Unstructured{}
	policy.SetAPIVersion("security.istio.io/v1")
	policy.SetKind("AuthorizationPolicy")
	t.Await(ctx, "the AuthorizationPolicy to be deleted", func() bool {
		return apierrors.IsNotFound(ms.Get(ctx, ms.Key("one"), policy))
	})
	ms.AwaitReady(ctx, t, "one")
	if ms.Pods["one"].UID != pod.UID {
		t.Errorf("the pod was replaced")
	}
}
