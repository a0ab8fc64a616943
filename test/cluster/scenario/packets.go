// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
)

// Names of the client pods.
const (
	ClientName = "outside"
	InsideName = "inside"
)

// MakeClients creates a pod outside of the mesh and one in the mesh. They serve
// ports 7000 and 9999, and run commands for From. The pod in the mesh is in the
// sample's namespace, and the other one also, unless that is the demo's.
func (s *Scenario) MakeClients(ctx context.Context) (c Clients, err error) {
	outside := s.namespace
	if outside == Namespace {
		outside = "default"
	}
	c.Outside = s.clientPod(outside, ClientName)
	c.Outside.Labels["sidecar.istio.io/inject"] = "false"
	c.Inside = s.clientPod(s.namespace, InsideName)
	return c, s.createClients(ctx, c.Outside, c.Inside)
}

// createClients applies the pods and waits until they run.
func (s *Scenario) createClients(ctx context.Context, pods ...*corev1.Pod) error {
	for _, pod := range pods {
		object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
		if err != nil {
			return err
		}
		delete(object, "status")
		if err := s.ApplyObjects(ctx, []*unstructured.Unstructured{{Object: object}}); err != nil {
			return err
		}
	}
	for _, pod := range pods {
		err := s.Wait(ctx, "the client "+pod.Name, func(ctx context.Context) (string, error) {
			return s.PodState(ctx, pod.Namespace, "app", pod.Name)
		})
		if err != nil {
			return err
		}
		if err := errors.Join(s.Get(ctx, client.ObjectKeyFromObject(pod), pod), s.copyClient(ctx, pod)); err != nil {
			return err
		}
	}
	return nil
}

// clientPod returns a pod that runs the client. The namespace decides whether
// Istio injects its proxy.
func (s *Scenario) clientPod(namespace, name string) *corev1.Pod {
	zero, no := int64(0), false
	return &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &zero,
			AutomountServiceAccountToken:  &no,
			Containers:                    []corev1.Container{s.clientContainer()},
		},
	}
}

// From runs the client program in one of the pods of MakeClients.
func (s *Scenario) From(ctx context.Context, pod *corev1.Pod, args ...string) (string, error) {
	var out, errs strings.Builder
	command := append([]string{"-n", pod.Namespace, "exec", pod.Name, "-c", "client", "--", s.clientProgram()}, args...)
	err := s.Kubectl(ctx, cluster.Stdio{Out: &out, Err: &errs}, command...)
	if err != nil {
		return out.String(), fmt.Errorf("netclient %s: %w: %s", strings.Join(args, " "), err, strings.TrimSpace(errs.String()))
	}
	return strings.TrimSpace(out.String()), nil
}

// Dialled is the guest's answer about a connection that it opened.
type Dialled struct {
	Local  string `json:"local"`
	Remote string `json:"remote"`
	Answer string `json:"answer"`
	Error  string `json:"error"`
}

// ServiceURL returns the address at which clients in the mesh call the sample's
// guest, without the scheme.
func (s *Scenario) ServiceURL() string { return Name + "." + s.namespace + "/" }

// FromGuest makes the guest open a connection. The request for it is sent to the
// guest's web server through the mesh.
func (s *Scenario) FromGuest(ctx context.Context, clients Clients, network, address string) (Dialled, error) {
	q := url.Values{"network": {network}, "addr": {address}}
	out, err := s.From(ctx, clients.Inside, "get", "http://"+s.ServiceURL()+"dial?"+q.Encode())
	if err != nil {
		return Dialled{}, err
	}
	var d Dialled
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		return d, fmt.Errorf("the guest answered %q: %w", out, err)
	}
	return d, nil
}

// NATTable returns the operator's table in a pod from the kernel.
func (s *Scenario) NATTable(ctx context.Context, podUID string) (string, error) {
	return s.PodNetnsExec(ctx, podUID, "nft", "list", "table", "inet", "meshvm")
}

// AwaitGuest waits until the guest answers through the mesh: it boots for some
// seconds after KubeVirt calls it Running.
func (s *Scenario) AwaitGuest(ctx context.Context, clients Clients) error {
	return s.Wait(ctx, "the guest to boot and answer", func(ctx context.Context) (string, error) {
		out, err := s.From(ctx, clients.Inside, "get", "http://"+s.ServiceURL())
		if err != nil || !strings.Contains(out, "hello from guest") {
			return "its web server", nil //nolint:nilerr // expected until it listens
		}
		return "", nil
	})
}
