// SPDX-License-Identifier: Apache-2.0

// Package builders creates objects for tests. A builder sets the fields that a
// live object of its kind has, so that a test sets only the fields it depends
// on:
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

// DefaultNamespace is the default namespace of objects.
const DefaultNamespace = "shop"

// Epoch is the default creation time of objects.
var Epoch = metav1.NewTime(time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC))

// UID returns a stable UID derived from a kind and a name.
func UID(kind, name string) types.UID { return types.UID(kind + "-" + name + "-uid") }
