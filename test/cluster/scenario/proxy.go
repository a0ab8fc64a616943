// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"meshvm.io/meshvm/test/cluster"
)

// Connection is a line of a proxy's access log in the format of
// manifests/istiod-values.yaml. It describes an HTTP request or a connection.
type Connection struct {
	// Listener is the address at which the proxy accepted the connection.
	Listener string `json:"listener"`
	// Source is the other side's address as the proxy sees it.
	Source string `json:"source"`
	// Original is the destination before NAT.
	Original string `json:"original"`
	// Peer is the identity in the certificate of the other side, empty without
	// mutual TLS.
	Peer string `json:"peer"`
	// TLS is the version of the protocol, empty for plain text.
	TLS string `json:"tls"`
	// Cluster is the name of Envoy's cluster that received the connection, Upstream
	// its address, and UpstreamLocal the proxy's address on that connection.
	Cluster       string `json:"cluster"`
	Upstream      string `json:"upstream"`
	UpstreamLocal string `json:"upstreamLocal"`
	// Path, Code and Attempts are of HTTP.
	Path     string `json:"path"`
	Code     int    `json:"code"`
	Attempts int    `json:"attempts"`
	// Flags and Failure describe errors (Envoy, RESPONSE_FLAGS).
	Flags   string `json:"flags"`
	Failure string `json:"failure"`
	// Milliseconds is the duration.
	Milliseconds int `json:"milliseconds"`
}

// Ports of the proxy's listeners.
const (
	Inbound  = 15006
	Outbound = 15001
)

// at reports whether the listener on a port accepted the connection.
func (c Connection) at(port int) bool {
	return strings.HasSuffix(c.Listener, ":"+strconv.Itoa(port))
}

func (c Connection) String() string {
	s := fmt.Sprintf("%s -> %s at %s", c.Source, c.Original, c.Listener)
	if c.Peer != "" {
		s += fmt.Sprintf(", %s with %s", c.TLS, c.Peer)
	}
	if c.Upstream != "" {
		s += fmt.Sprintf(", sent from %s to %s (%s)", c.UpstreamLocal, c.Upstream, c.Cluster)
	}
	if c.Code != 0 {
		s += fmt.Sprintf(", code %d", c.Code)
	}
	if c.Flags != "" && c.Flags != "-" {
		s += ", flags " + c.Flags
	}
	return s + strings.TrimRight(" "+c.Failure, " ")
}

// Connections reads the access log of a pod's proxy. Envoy writes it once a second,
// and writes a connection after its end.
func (s *Scenario) Connections(ctx context.Context, pod *corev1.Pod) ([]Connection, error) {
	var out, errs strings.Builder
	err := s.Kubectl(ctx, cluster.Stdio{Out: &out, Err: &errs}, "-n", pod.Namespace, "logs", pod.Name, "-c", "istio-proxy", "--tail=-1")
	if err != nil {
		return nil, fmt.Errorf("access log of %s: %w: %s", pod.Name, err, errs.String())
	}
	var list []Connection
	for lines := bufio.NewScanner(strings.NewReader(out.String())); lines.Scan(); {
		if !strings.HasPrefix(lines.Text(), "{") || !strings.Contains(lines.Text(), `"original"`) {
			continue // a line of pilot-agent
		}
		var c Connection
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			return nil, fmt.Errorf("access log of %s: %w: %s", pod.Name, err, lines.Text())
		}
		// Envoy writes "-" for missing values, and appends ";" to the name of a cluster.
		c.Failure, c.Cluster = strings.Trim(c.Failure, "-"), strings.TrimSuffix(c.Cluster, ";")
		list = append(list, c)
	}
	return list, nil
}

// Stats reads counters of a pod's proxy whose names match a regular expression.
func (s *Scenario) Stats(ctx context.Context, pod *corev1.Pod, filter string) (map[string]int, error) {
	if s.images != nil {
		out, err := s.remoteStats(ctx, pod, url.Values{"filter": {filter}}.Encode())
		return parseStats(out), err
	}
	out, err := s.PodNetnsExec(ctx, string(pod.UID), "curl", "-sS", "--max-time", "5", "-G",
		"http://127.0.0.1:15000/stats", "--data-urlencode", "filter="+filter)
	return parseStats(out), err
}

// parseStats reads lines of the form "name: number".
func parseStats(out string) map[string]int {
	stats := map[string]int{}
	for line := range strings.Lines(out) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ": ")
		if n, err := strconv.Atoi(value); ok && err == nil {
			stats[name] = n
		}
	}
	return stats
}

// Taken returns the number of connections to a listener of a pod's proxy, including
// refused ones.
func (s *Scenario) Taken(ctx context.Context, pod *corev1.Pod, port int) (int, error) {
	name := fmt.Sprintf("listener.0.0.0.0_%d.", port)
	stats, err := s.Stats(ctx, pod, "^"+strings.ReplaceAll(name, ".", `\.`)+"(downstream_cx_total|no_filter_chain_match)$")
	if err != nil {
		return 0, err
	}
	n, ok := stats[name+"downstream_cx_total"]
	if !ok {
		return 0, fmt.Errorf("the proxy of %s does not count the connections of port %d", pod.Name, port)
	}
	return n + stats[name+"no_filter_chain_match"], nil
}
