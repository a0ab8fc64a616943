// SPDX-License-Identifier: Apache-2.0

// Package proxystate reads what the mesh proxy of a pod runs, from Envoy's
// administration interface in the pod's network namespace. It decodes only the
// fields that the state needs, and limits the bytes and the time of every
// answer, because any process in the pod can answer in the proxy's place.
package proxystate

import (
	"cmp"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strings"
	"time"

	"meshvm.io/meshvm/internal/ruleio"
)

// AdminAddress is the address of Envoy's administration interface in a pod
// (Istio, tools/packaging/common/envoy_bootstrap.json).
const AdminAddress = "127.0.0.1:15000"

const (
	// timeLimit is the time for all requests to one proxy. A proxy answers in
	// milliseconds.
	timeLimit = 2 * time.Second
	// maxAnswer is the maximum length of an answer. The values of an answer of this length
	// that consists of empty objects take less than half of the memory of the rule-writer.
	maxAnswer = 512 << 10
	// maxListeners is the maximum number of listeners on the inbound port.
	maxListeners = 8
)

// Dial opens a connection to AdminAddress in the pod's network namespace.
type Dial func(timeout time.Duration) (net.Conn, error)

// DialHere connects in the network namespace of the calling thread: a connection to
// a literal address is opened by the calling goroutine (package net).
func DialHere(timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout("tcp4", AdminAddress, timeout)
}

// Read returns the state of the sidecar that the plan describes. It does not
// fail: if the proxy cannot be read, the state contains the error.
func Read(dial Dial, plan ruleio.NATPlan) *ruleio.ProxyState {
	a := admin{dial: dial, deadline: time.Now().Add(timeLimit)}
	out := &ruleio.ProxyState{Kind: ruleio.ProxyEnvoy}
	if err := a.read(plan, out); err != nil {
		return &ruleio.ProxyState{Kind: ruleio.ProxyEnvoy, Error: shorten(err.Error())}
	}
	return out
}

// read sends the requests. Each needs a small part of the answer.
func (a admin) read(plan ruleio.NATPlan, out *ruleio.ProxyState) error {
	var info serverInfo
	if err := a.get("/server_info", info.decode); err != nil {
		return err
	}
	out.Version, out.Phase = info.version(), info.phase()
	var listeners listenerNames
	if err := a.get("/listeners?format=json", listeners.decoder(plan.Proxy.InboundPort)); err != nil {
		return err
	}
	if len(listeners) > 0 {
		var found chains
		query := url.Values{"resource": {"dynamic_listeners"}, "name_regex": {listeners.pattern()}}
		if err := a.get("/config_dump?"+query.Encode(), found.decode); err != nil {
			return err
		}
		found.describe(plan.Inbound.Mesh, out)
	}
	var updates updates
	if err := a.get("/config_dump?resource=dynamic_listeners&mask=name,error_state.details", updates.decode); err != nil {
		return err
	}
	var stats stats
	if err := a.get("/stats?filter="+url.QueryEscape(stats.filter()), stats.decode); err != nil {
		return err
	}
	if stats.stopped {
		out.Phase = ruleio.ProxyDraining
	}
	switch {
	case updates.rejected:
		out.Configuration = ruleio.ProxyRejected
	case stats.disconnected:
		out.Configuration = ruleio.ProxyStale
	default:
		out.Configuration = ruleio.ProxySynced
	}
	var certificates certificates
	if err := a.get("/certs", certificates.decode); err != nil {
		return err
	}
	certificates.describe(out)
	return nil
}

// listenerNames are the names of the listeners on a port.
type listenerNames []string

// pattern returns a regular expression that matches exactly the names.
func (n listenerNames) pattern() string {
	quoted := make([]string, len(n))
	for i, name := range n {
		quoted[i] = regexp.QuoteMeta(name)
	}
	return "^(" + strings.Join(quoted, "|") + ")$"
}

// shorten limits a message that can contain text of the proxy.
func shorten(s string) string {
	const limit = 160
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, s)
	return cmp.Or(s[:min(len(s), limit)], "no message")
}

// limited fails after maxAnswer bytes, so that a truncated answer is not read as a
// complete one.
type limited struct {
	from io.Reader
	left int64
}

func (l *limited) Read(b []byte) (int, error) {
	if l.left <= 0 {
		return 0, fmt.Errorf("%w: the answer is longer than %d bytes", errAnswer, maxAnswer)
	}
	n, err := l.from.Read(b[:min(int64(len(b)), l.left)])
	l.left -= int64(n)
	return n, err
}
