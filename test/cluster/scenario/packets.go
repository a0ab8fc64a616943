//go:build linux

package scenario

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
)

// Connection is an entry of the journal of the stand-in of Envoy.
type Connection struct {
	Time     time.Time `json:"time"`
	Listener string    `json:"listener"`
	Source   string    `json:"source"`
	Original string    `json:"original"`
	Result   string    `json:"result"`
}

// Listeners as the journal names them.
const (
	Inbound  = "inbound 15006"
	Outbound = "outbound 15001"
)

// ClientName is the pod outside of the mesh.
const ClientName = "outside"

// MakeClient makes the pod outside of the mesh and returns its address. It serves
// ports 7000 and 9999, and runs commands for FromClient.
func (s *Scenario) MakeClient(ctx context.Context) (string, error) {
	zero, no := int64(0), false
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			Name: ClientName, Namespace: "default", Labels: map[string]string{"app": ClientName, "sidecar.istio.io/inject": "false"},
		},
		Spec: corev1.PodSpec{
			TerminationGracePeriodSeconds: &zero,
			AutomountServiceAccountToken:  &no,
			Containers: []corev1.Container{{
				Name: "client", Image: builder.ClientImage, ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"serve"},
			}},
		},
	}
	object, err := runtime.DefaultUnstructuredConverter.ToUnstructured(pod)
	if err != nil {
		return "", err
	}
	delete(object, "status")
	if err := s.ApplyObjects(ctx, []*unstructured.Unstructured{{Object: object}}); err != nil {
		return "", err
	}
	err = s.Wait(ctx, "the client outside of the mesh", func(ctx context.Context) (string, error) {
		return s.PodState(ctx, "default", "app", ClientName)
	})
	if err != nil {
		return "", err
	}
	err = s.Get(ctx, client.ObjectKeyFromObject(pod), pod)
	return pod.Status.PodIP, err
}

// FromClient runs the client program in the pod outside of the mesh.
func (s *Scenario) FromClient(ctx context.Context, args ...string) (string, error) {
	var out, errs strings.Builder
	command := append([]string{"-n", "default", "exec", ClientName, "--", "/netclient"}, args...)
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

// FromGuest has the guest open a connection. The request for that goes to the
// guest the way all requests go.
func (s *Scenario) FromGuest(ctx context.Context, podIP, network, address string) (Dialled, error) {
	q := url.Values{"network": {network}, "addr": {address}}
	out, err := s.FromClient(ctx, "get", "http://"+net.JoinHostPort(podIP, "8080")+"/dial?"+q.Encode())
	if err != nil {
		return Dialled{}, err
	}
	var d Dialled
	if err := json.Unmarshal([]byte(out), &d); err != nil {
		return d, fmt.Errorf("the guest answered %q: %w", out, err)
	}
	return d, nil
}

// Connections reads the journal of the stand-in of Envoy in a pod.
func (s *Scenario) Connections(ctx context.Context, podUID string) ([]Connection, error) {
	out, err := s.PodNetnsExec(ctx, podUID, "curl", "-sS", "--max-time", "5", "http://127.0.0.1:15000/connections")
	if err != nil {
		return nil, err
	}
	var list []Connection
	return list, json.Unmarshal([]byte(out), &list)
}

// NATTable is the operator's table in a pod, as the kernel has it.
func (s *Scenario) NATTable(ctx context.Context, podUID string) (string, error) {
	return s.PodNetnsExec(ctx, podUID, "nft", "list", "table", "inet", "meshvm")
}

// AwaitGuest waits until the guest answers: it boots for some seconds after
// KubeVirt calls it Running.
func (s *Scenario) AwaitGuest(ctx context.Context, podIP string) error {
	return s.Wait(ctx, "the guest to boot and answer", func(ctx context.Context) (string, error) {
		if _, err := s.FromClient(ctx, "get", "http://"+net.JoinHostPort(podIP, "8080")+"/"); err != nil {
			return "its web server", nil //nolint:nilerr // expected until it listens
		}
		return "", nil
	})
}
