// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/test/cluster"
)

// Watched is the result of the requests of a client to one target.
type Watched struct {
	Name   string `json:"name"`
	Target string `json:"target"`
	// Sent and Failed are numbers of requests. First is the first failure.
	Sent   int    `json:"sent"`
	Failed int    `json:"failed"`
	First  string `json:"first"`
	// LongestMS is the longest time between two good answers, in milliseconds.
	LongestMS int64 `json:"longestMilliseconds"`
}

// Watch is traffic that continues until it is stopped.
type Watch struct{ clients []*watching }

// watching is one client's part.
type watching struct {
	stop      io.Closer
	done      chan error
	out, errs bytes.Buffer
}

// StartWatch makes the two clients send requests every 50 ms. The client in the mesh
// uses the port in the mesh, on new connections and on one connection, and makes the
// guest open connections through the proxy and bypassing it. The client outside the
// mesh uses the direct ports.
func (s *Scenario) StartWatch(ctx context.Context, pod *corev1.Pod, clients Clients) *Watch {
	at := func(port string) string { return net.JoinHostPort(pod.Status.PodIP, port) }
	dial := func(port string) string {
		return "http://" + s.ServiceURL() + "dial?network=tcp&addr=" + net.JoinHostPort(clients.Outside.Status.PodIP, port)
	}
	return &Watch{clients: []*watching{
		s.startClient(ctx, clients.Inside,
			"mesh-port=http://"+s.ServiceURL(),
			"mesh-port-one-connection=keep+http://"+s.ServiceURL(),
			"from-guest-through-proxy="+dial("7000"),
			"from-guest-bypassing-proxy="+dial("9999")),
		s.startClient(ctx, clients.Outside, "direct-tcp-port=tcp://"+at("22"), "direct-udp-port=udp://"+at("9000")),
	}}
}

// StartRequests makes a client send requests to the targets every 50 ms. A target is
// NAME=URL.
func (s *Scenario) StartRequests(ctx context.Context, client *corev1.Pod, targets ...string) *Watch {
	return &Watch{clients: []*watching{s.startClient(ctx, client, targets...)}}
}

func (s *Scenario) startClient(ctx context.Context, pod *corev1.Pod, targets ...string) *watching {
	in, stop := io.Pipe()
	w := &watching{stop: stop, done: make(chan error, 1)}
	args := append([]string{"-n", pod.Namespace, "exec", "-i", pod.Name, "-c", "client", "--", s.clientProgram(), "watch"}, targets...)
	go func() { w.done <- s.Kubectl(ctx, cluster.Stdio{In: in, Out: &w.out, Err: &w.errs}, args...) }()
	return w
}

// Stop ends the traffic and returns the results.
func (w *Watch) Stop() ([]Watched, error) {
	var all []Watched
	for _, c := range w.clients {
		if err := c.stop.Close(); err != nil {
			return nil, err
		}
		if err := <-c.done; err != nil {
			return nil, fmt.Errorf("the client: %w: %s", err, c.errs.String())
		}
		var list []Watched
		if err := json.Unmarshal(c.out.Bytes(), &list); err != nil {
			return nil, err
		}
		all = append(all, list...)
	}
	return all, nil
}
