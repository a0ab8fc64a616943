// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"context"
	"encoding/json"
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

// Names of the pods that talk to guests.
const (
	ClientName = "outside"
	InsideName = "inside"
)

// MakeClients makes a pod outside of the mesh and one in it, in the sample's
// namespace. They serve ports 7000 and 9999, and run commands for From.
func (s *Scenario) MakeClients(ctx context.Context) (c Clients, err error) {
	if c.Outside, err = s.MakeClient(ctx, "default", ClientName); err != nil {
		return c, err
	}
	c.Inside, err = s.MakeClient(ctx, Namespace, InsideName)
	return c, err
}

// MakeClient makes one such pod. Whether Istio injects its proxy is up to the
// namespace.
func (s *Scenario) MakeClient(ctx context.Context, namespace, name string) (*corev1.Pod, error) {
	zero, no := int64(0), false
	pod := &corev1.Pod{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &zero,
			AutomountServiceAccountToken:  &no,
			Containers:                    []corev1.Container{s.clientContainer()},
		},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		return nil, err
	}
	delete(object, "status")
	if err := s.ApplyObjects(ctx, []*unstructured.Unstructured{{Object: object}}); err != nil {
		return nil, err
	}
	err = s.Wait(ctx, "the client "+name, func(ctx context.Context) (string, error) {
		return s.PodState(ctx, namespace, "app", name)
	})
	if err != nil {
		return nil, err
	}
	if err := s.Get(ctx, client.ObjectKeyFromObject(pod), pod); err != nil {
		return nil, err
	}
	return pod, s.copyClient(ctx, pod)
}

// From runs the client program in one of the pods of MakeClient.
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

// ServiceURL is how clients in the mesh call the sample's guest.
const ServiceURL = Name + "." + Namespace + "/"

// FromGuest has the guest open a connection. The request for that goes to the
// guest the way all requests go: through the mesh.
func (s *Scenario) FromGuest(ctx context.Context, clients Clients, network, address string) (Dialled, error) {
	q := url.Values{"network": {network}, "addr": {address}}
	out, err := s.From(ctx, clients.Inside, "get", "http://"+ServiceURL+"dial?"+q.Encode())
	if err != nil {
		return Dialled{}, err
	}
	var d Dialled
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		return d, fmt.Errorf("the guest answered %q: %w", out, err)
	}
	return d, nil
}

// NATTable is the operator's table in a pod, as the kernel has it.
func (s *Scenario) NATTable(ctx context.Context, podUID string) (string, error) {
	return s.PodNetnsExec(ctx, podUID, "nft", "list", "table", "inet", "meshvm")
}

// AwaitGuest waits until the guest answers through the mesh: it boots for some
// seconds after KubeVirt calls it Running.
func (s *Scenario) AwaitGuest(ctx context.Context, clients Clients) error {
	return s.Wait(ctx, "the guest to boot and answer", func(ctx context.Context) (string, error) {
		out, err := s.From(ctx, clients.Inside, "get", "http://"+ServiceURL)
		if err != nil || !strings.Contains(out, "hello from guest") {
			return "its web server", nil //nolint:nilerr // expected until it listens
		}
		return "", nil
	})
}
