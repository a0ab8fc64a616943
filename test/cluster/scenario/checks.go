//go:build linux

package scenario

import (
	"context"
	"fmt"
	"net"
	"strings"

	corev1 "k8s.io/api/core/v1"
)

// Check is one statement about the way of packets.
type Check struct {
	// Name says what is sent.
	Name string
	// Want says what must be seen.
	Want string
	// Seen says what was.
	Seen string
	// Err is nil when the statement holds.
	Err error
}

// probe sends something and returns the peer's answer.
type probe func(context.Context) (answer string, err error)

// expectation of a probe: what the answer contains, and which listener of the
// proxy saw a connection to which destination. Without listener none may have.
type expectation struct {
	name, want  string
	probe       probe
	contains    string
	listener    string
	destination string
}

// Packets sends packets to and from the guest and checks their ways.
func (s *Scenario) Packets(ctx context.Context, pod *corev1.Pod, clientIP string) ([]Check, error) {
	ip, uid := pod.Status.PodIP, string(pod.UID)
	at := net.JoinHostPort
	dial := func(network, address string) probe {
		return func(ctx context.Context) (string, error) {
			d, err := s.FromGuest(ctx, ip, network, address)
			if err == nil && d.Error != "" {
				err = fmt.Errorf("the guest's connection: %s", d.Error)
			}
			return d.Answer, err
		}
	}
	talk := func(args ...string) probe {
		return func(ctx context.Context) (string, error) { return s.FromClient(ctx, args...) }
	}
	var out []Check
	for _, e := range []expectation{
		{
			name: "outside -> pod:8080 (meshed port)", want: "redirected to the proxy's inbound port 15006, then the guest",
			probe: talk("get", "http://"+at(ip, "8080")+"/"), contains: "hello from guest",
			listener: Inbound, destination: at(ip, "8080"),
		},
		{
			name: "outside -> service " + Name + ":80 (meshed port)", want: "the same, by the Service's address",
			probe: s.viaService(talk), contains: "hello from guest",
			listener: Inbound, destination: at(ip, "8080"),
		},
		{
			name: "guest -> outside:7000", want: "redirected to the proxy's outbound port 15001, original destination kept",
			probe: dial("tcp", at(clientIP, "7000")), contains: "netclient: client=",
			listener: Outbound, destination: at(clientIP, "7000"),
		},
		{
			name: "outside -> pod:22 (route Direct)", want: "straight to the guest, the proxy sees nothing",
			probe: talk("tcp", at(ip, "22")), contains: "stand-in_of_an_ssh_server",
			destination: at(ip, "22"),
		},
		{
			name: "outside -> pod:9000/udp (route Direct)", want: "straight to the guest: UDP cannot be meshed",
			probe: talk("udp", at(ip, "9000"), "ping"), contains: "ping",
			destination: at(ip, "9000"),
		},
		{
			name: "guest -> outside:9999 (excluded port)", want: "past the proxy",
			probe: dial("tcp", at(clientIP, "9999")), contains: "netclient: client=",
			destination: at(clientIP, "9999"),
		},
	} {
		c, err := s.check(ctx, uid, e)
		if err != nil {
			return out, err
		}
		out = append(out, c)
	}
	return out, nil
}

// viaService asks the guest through the ClusterIP of the sample's Service.
func (s *Scenario) viaService(talk func(...string) probe) probe {
	return func(ctx context.Context) (string, error) {
		var svc corev1.Service
		if err := s.Get(ctx, objectKey(), &svc); err != nil {
			return "", err
		}
		return talk("get", "http://"+svc.Spec.ClusterIP+"/")(ctx)
	}
}

// check runs one probe between two readings of the proxy's journal.
func (s *Scenario) check(ctx context.Context, podUID string, e expectation) (Check, error) {
	before, err := s.Connections(ctx, podUID)
	if err != nil {
		return Check{}, err
	}
	c := Check{Name: e.name, Want: e.want}
	answer, probeErr := e.probe(ctx)
	after, err := s.Connections(ctx, podUID)
	if err != nil {
		return Check{}, err
	}
	var seen []string
	found := false
	for _, conn := range after[min(len(before), len(after)):] {
		if conn.Original != e.destination {
			continue
		}
		seen = append(seen, fmt.Sprintf("%s: %s -> %s, %s", conn.Listener, conn.Source, conn.Original, conn.Result))
		found = found || conn.Listener == e.listener
	}
	c.Seen = fmt.Sprintf("%q; proxy: %s", strings.TrimSpace(answer), list(seen))
	switch {
	case probeErr != nil:
		c.Err = probeErr
	case !strings.Contains(answer, e.contains):
		c.Err = fmt.Errorf("the answer has no %q", e.contains)
	case e.listener != "" && !found:
		c.Err = fmt.Errorf("the proxy's listener %q saw no connection to %s", e.listener, e.destination)
	case e.listener == "" && len(seen) > 0:
		c.Err = fmt.Errorf("the proxy saw a connection to %s that should pass it by", e.destination)
	}
	return c, nil
}

func list(seen []string) string {
	if len(seen) == 0 {
		return "nothing"
	}
	return strings.Join(seen, "; ")
}
