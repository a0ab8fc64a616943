// SPDX-License-Identifier: Apache-2.0

// Package builders makes the objects that tests start from. A builder fills in
// what a live object of its kind would have, so that a test names only what it
// is about:
//
//	mvm := builders.MVM("web").Namespace("shop").Ports(builders.HTTP("http", 80, 8080)).Obj()
//	vmi := builders.VMI("web").Namespace("shop").Node("node-1").Obj()
//	pod := builders.LauncherPod(vmi, "abcde").Node("node-1").IP("10.244.0.8").Obj()
//
// Obj returns a copy each time.
package builders

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// DefaultNamespace is the namespace of objects that name none.
const DefaultNamespace = "shop"

// Epoch is when objects were made that do not say when.
var Epoch = metav1.NewTime(time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC))

// UID is a stable UID made of a kind and a name.
func UID(kind, name string) types.UID { return types.UID(kind + "-" + name + "-uid") }
