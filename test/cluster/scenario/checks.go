// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Check is the result of a check of the path of packets.
type Check struct {
	// Name describes the sent packets.
	Name string
	// Want describes the expected path.
	Want string
	// Seen describes the observed path.
	Seen string
	// Err is nil if the path is the expected one.
	Err error
}

// probe sends something and returns the peer's answer.
type probe func(context.Context) (answer string, err error)

// expectation describes the expected answer to a probe, and whether a listener of
// the proxy accepts a connection for it.
type expectation struct {
	name, want string
	probe      probe
	// contains is a part of the answer, or empty if no answer is expected.
	contains string
	// listener is the observed port of the proxy.
	listener int
	// destination of the connection that it accepts, or empty if it accepts none.
	destination string
	// peer is the identity that the client must prove, if any.
	peer string
}

// Clients are the pods that send packets to guests.
type Clients struct {
	// Outside has no proxy. Inside has a proxy and is in the guest's namespace.
	Outside, Inside *corev1.Pod
}

// Identity returns the identity of the pods in the sample's namespace, which use
// its default service account.
func (s *Scenario) Identity() string {
	return "spiffe://cluster.local/ns/" + s.namespace + "/sa/default"
}

// Packets sends packets to and from the guest and checks their paths.
func (s *Scenario) Packets(ctx context.Context, pod *corev1.Pod, clients Clients) ([]Check, error) {
	var out []Check
	for _, e := range s.expectations(pod, clients) {
		c, err := s.check(ctx, pod, e)
		if err != nil {
			return out, err
		}
		out = append(out, c)
	}
	return out, nil
}

func (s *Scenario) expectations(pod *corev1.Pod, clients Clients) []expectation {
	ip, outside := pod.Status.PodIP, clients.Outside.Status.PodIP
	at := net.JoinHostPort
	dial := func(network, address string) probe {
		return func(ctx context.Context) (string, error) {
			d, err := s.FromGuest(ctx, clients, network, address)
			if err == nil && d.Error != "" {
				err = fmt.Errorf("the guest's connection: %s", d.Error)
			}
			return d.Answer, err
		}
	}
	from := func(pod *corev1.Pod, args ...string) probe {
		return func(ctx context.Context) (string, error) { return s.From(ctx, pod, args...) }
	}
	list := []expectation{
		{
			name: "meshed client -> http://" + s.ServiceURL(), want: "mutual TLS between the proxies, redirected to port 15006, then the guest",
			probe: from(clients.Inside, "get", "http://"+s.ServiceURL()), contains: "hello from guest",
			listener: Inbound, destination: at(ip, "8080"), peer: s.Identity(),
		},
		{
			name: "outside -> pod:8080, plain text", want: "redirected to port 15006, where mutual TLS is required: refused",
			probe:    from(clients.Outside, "get", "http://"+at(ip, "8080")+"/"),
			listener: Inbound, destination: at(ip, "8080"),
		},
		{
			name: "guest -> outside:7000", want: "redirected to the proxy's outbound port 15001, original destination kept",
			probe: dial("tcp", at(outside, "7000")), contains: "netclient: client=",
			listener: Outbound, destination: at(outside, "7000"),
		},
		{
			name: "outside -> pod:22 (via Direct)", want: "directly to the guest, bypassing the proxy",
			probe: from(clients.Outside, "tcp", at(ip, "22")), contains: "SSH-2.0-", listener: Inbound,
		},
		{
			name: "outside -> pod:9000/udp (via Direct)", want: "directly to the guest: the mesh does not support UDP",
			probe: from(clients.Outside, "udp", at(ip, "9000"), "ping"), contains: "ping", listener: Inbound,
		},
		{
			name: "guest -> outside:9999 (excluded port)", want: "bypassing the proxy",
			probe: dial("tcp", at(outside, "9999")), contains: "netclient: client=", listener: Outbound,
		},
	}
	if s.StandIn(pod) {
		list[0].peer, list[0].want = "", "redirected to port 15006, then the guest (no mutual TLS: the proxy is a stand-in)"
		list[1].contains, list[1].want = "hello from guest", "redirected to port 15006 (not refused: the proxy is a stand-in)"
	}
	return list
}

// check runs one probe between two readings of the proxy's counter and log.
func (s *Scenario) check(ctx context.Context, pod *corev1.Pod, e expectation) (Check, error) {
	before, err := s.Taken(ctx, pod, e.listener)
	if err != nil {
		return Check{}, err
	}
	hasLog, err := s.HasAccessLog(ctx)
	if err != nil {
		return Check{}, err
	}
	var logged []Connection
	if hasLog {
		if logged, err = s.Connections(ctx, pod); err != nil {
			return Check{}, err
		}
	}
	c := e.probed(ctx)
	if e.destination != "" && c.Err == nil && hasLog {
		return s.logged(ctx, pod, len(logged), e, c), nil
	}
	after, err := s.Taken(ctx, pod, e.listener)
	if err != nil {
		return Check{}, err
	}
	c.Seen += fmt.Sprintf("; port %d of the proxy took %d connections", e.listener, after-before)
	switch {
	case e.destination == "" && after != before && c.Err == nil:
		c.Err = fmt.Errorf("the proxy's port %d took a connection that should bypass it", e.listener)
	case e.destination != "" && after == before && (e.peer == "" || after == 0) && c.Err == nil: // connections between proxies are reused
		c.Err = fmt.Errorf("the proxy's port %d took no connection", e.listener)
	}
	return c, nil
}

// probed runs the probe and compares its answer with the expected one.
func (e expectation) probed(ctx context.Context) Check {
	c := Check{Name: e.name, Want: e.want}
	answer, err := e.probe(ctx)
	c.Seen = fmt.Sprintf("%q", strings.TrimSpace(answer))
	switch {
	case e.contains == "" && err == nil:
		c.Err = errors.New("the connection was not refused")
	case e.contains == "":
		c.Seen = "refused"
	case err != nil:
		c.Err = err
	case !strings.Contains(answer, e.contains):
		c.Err = fmt.Errorf("the answer does not contain %q", e.contains)
	}
	return c
}

// logged adds the line of the access log for a probe that was answered. Proxies
// reuse connections, but the log has a line for each request.
func (s *Scenario) logged(ctx context.Context, pod *corev1.Pod, skip int, e expectation, c Check) Check {
	var record Connection
	record, c.Err = s.awaitRecord(ctx, pod, skip, e)
	c.Seen += "; the proxy: " + record.String()
	return c
}

// awaitRecord waits for the line of the access log for an expectation.
func (s *Scenario) awaitRecord(ctx context.Context, pod *corev1.Pod, skip int, e expectation) (Connection, error) {
	var last Connection
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := s.Wait(ctx, "the access log of "+pod.Name, func(ctx context.Context) (string, error) {
		all, err := s.Connections(ctx, pod)
		if err != nil {
			return "", err
		}
		for _, c := range all[min(skip, len(all)):] {
			if c.at(e.listener) && c.Original == e.destination && (e.peer == "" || c.Peer == e.peer) {
				last = c
				return "", nil
			}
		}
		return fmt.Sprintf("a connection to %s at port %d, peer %q", e.destination, e.listener, e.peer), nil
	})
	return last, err
}

// StandIn reports whether a pod's proxy is the stand-in for Envoy.
func (s *Scenario) StandIn(pod *corev1.Pod) bool {
	for _, c := range pod.Spec.InitContainers {
		if c.Name == "istio-proxy" {
			return strings.Contains(c.Image, "stand-in")
		}
	}
	return false
}
