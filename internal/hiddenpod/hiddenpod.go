// SPDX-License-Identifier: Apache-2.0

// Package hiddenpod reads pods that are not in the manager's cache. The cache selects
// virt-launcher pods by a label of KubeVirt, which a user with the role "edit" can remove
// from a running pod. No watch reports changes of such a pod.
package hiddenpod

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Retry is the delay before a hidden pod is read again.
const Retry = time.Minute

// Find reads a pod from the cache or, if the cache does not contain it, from the API
// server. It returns nil if no pod with this name and UID exists. A list with a field
// selector requires the same permissions as the watch.
func Find(ctx context.Context, cached, live client.Reader, key types.NamespacedName, uid types.UID) (pod *corev1.Pod, hidden bool, err error) {
	pod = &corev1.Pod{}
	switch err := cached.Get(ctx, key, pod); {
	case err == nil && pod.UID == uid:
		return pod, false, nil
	case err != nil && !apierrors.IsNotFound(err):
		return nil, false, fmt.Errorf("read pod %s: %w", key.Name, err)
	}
	var pods corev1.PodList
	if err := live.List(ctx, &pods, client.InNamespace(key.Namespace), client.MatchingFields{"metadata.name": key.Name}); err != nil {
		return nil, false, fmt.Errorf("read pod %s from the API server: %w", key.Name, err)
	}
	for i := range pods.Items {
		if p := &pods.Items[i]; p.UID == uid {
			return p, true, nil
		}
	}
	return nil, false, nil
}
