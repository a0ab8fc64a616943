// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/ruleio"

	"meshvm.io/meshvm/test/cluster/builder"
)

// envoyEnv is the environment variable with the path of Envoy.
const envoyEnv = "MESHVM_ENVOY"

// envoyProgram finds or downloads Envoy once.
var envoyProgram = sync.OnceValues(func() (string, error) {
	if path := os.Getenv(envoyEnv); path != "" {
		return path, nil
	}
	b, err := builder.New(os.Stderr)
	if err != nil {
		return "", err
	}
	return b.Envoy(context.Background())
})

// envoy is a running Envoy in a lab's pod, which replaces the stand-in on the
// two capture ports.
type envoy struct {
	command *exec.Cmd
	logs    io.Closer
	mu      sync.Mutex
	// taken contains the entries of the access log by client address.
	taken map[string]outcome
	// changed receives a value after taken has grown. It is closed when Envoy
	// exits.
	changed chan struct{}
	// stderr is shown in failures.
	stderr bytes.Buffer
}

// startEnvoy starts Envoy as the proxy's user. Its two listeners are the
// essential part of Istio's configuration: they get the original destination
// from the kernel and connect to it, inbound from 127.0.0.6 and ::6 (Istio,
// pilot/pkg/networking/core/listener_builder.go).
func (l *lab) startEnvoy(t testing.TB, program string) *envoy {
	t.Helper()
	return l.startEnvoyWith(t, program, nil)
}

// startEnvoyWith is startEnvoy with further parts of Envoy's bootstrap.
func (l *lab) startEnvoyWith(t testing.TB, program string, bootstrap map[string]any) *envoy {
	t.Helper()
	full := map[string]any{"static_resources": map[string]any{
		"listeners": []any{l.envoyListener(inboundPort), l.envoyListener(outboundPort)},
		"clusters":  []any{l.envoyCluster(inboundPort, true), l.envoyCluster(outboundPort, false)},
	}}
	maps.Copy(full, bootstrap)
	config, err := json.Marshal(full)
	if err != nil {
		t.Fatal(err)
	}
	// The file is opened here because the proxy's user may not have access to
	// the directory of the program.
	file, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	e := &envoy{taken: map[string]outcome{}, changed: make(chan struct{}, 1), logs: reader}
	e.command = exec.Command("/proc/self/fd/3", "--config-yaml", string(config), "--disable-hot-restart",
		"--concurrency", "1", "--file-flush-interval-msec", "10", "--log-level", "warning")
	e.command.ExtraFiles = []*os.File{file}
	e.command.Dir = "/"
	e.command.Stdout, e.command.Stderr = writer, &e.stderr
	e.command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: proxyUID, Gid: proxyUID}}
	l.in(l.pod, e.command.Start)
	_ = writer.Close()
	t.Cleanup(func() { _ = e.command.Process.Kill() })
	go e.read(reader)
	l.awaitListeners(t, 2*len(l.mesh), &e.stderr)
	return e
}

// envoyListener returns a listener for all families of the mesh.
func (l *lab) envoyListener(port int) map[string]any {
	name := strconv.Itoa(port)
	var addresses []any
	for _, f := range l.mesh {
		addresses = append(addresses, map[string]any{"address": socketAddress(f.wildcard, port)})
	}
	line := name + " %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\n"
	return map[string]any{
		"name":                 name,
		"address":              socketAddress(l.mesh[0].wildcard, port),
		"additional_addresses": addresses[1:],
		"listener_filters":     []any{typed("listener.original_dst.v3.OriginalDst", "filters.", nil)},
		"filter_chains": []any{map[string]any{"filters": []any{
			typed("network.tcp_proxy.v3.TcpProxy", "filters.", map[string]any{
				"stat_prefix": name, "cluster": name,
				"access_log": []any{typed("stream.v3.StdoutAccessLog", "access_loggers.", map[string]any{
					"log_format": map[string]any{"text_format_source": map[string]any{"inline_string": line}},
				})},
			}),
		}}},
	}
}

// envoyCluster returns the cluster that connects to the original destination.
func (l *lab) envoyCluster(port int, inwards bool) map[string]any {
	c := map[string]any{
		"name": strconv.Itoa(port), "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED",
		"connect_timeout": fmt.Sprintf("%.1fs", waitLimit.Seconds()),
	}
	if inwards {
		var from []any
		for _, f := range l.mesh {
			from = append(from, map[string]any{"address": map[string]any{"address": f.upstream, "port_value": 0}})
		}
		c["upstream_bind_config"] = map[string]any{
			"source_address":         map[string]any{"address": l.mesh[0].upstream, "port_value": 0},
			"extra_source_addresses": from[1:],
		}
	}
	return c
}

func socketAddress(host string, port int) map[string]any {
	return map[string]any{"socket_address": map[string]any{"address": host, "port_value": port}}
}

// typed returns an Envoy extension with its configuration.
func typed(message, category string, config map[string]any) map[string]any {
	out := map[string]any{"@type": "type.googleapis.com/envoy.extensions." + category + message}
	maps.Copy(out, config)
	return map[string]any{"name": message, "typed_config": out}
}

// read reads the access log until Envoy exits.
func (e *envoy) read(log io.Reader) {
	lines := bufio.NewScanner(log)
	for lines.Scan() {
		words := strings.SplitN(lines.Text(), " ", 4)
		if len(words) < 4 {
			continue
		}
		o := outcome{Proxy: words[0], Original: words[2]}
		switch {
		case strings.Contains(words[3], "refused"):
			o.Failure = refused.Failure
		case words[3] != "-":
			o.Failure = strings.ReplaceAll(words[3], " ", "-")
		}
		e.mu.Lock()
		e.taken[words[1]] = o
		e.mu.Unlock()
		select {
		case e.changed <- struct{}{}:
		default:
		}
	}
	close(e.changed)
}

// awaitListeners waits until the given number of sockets listen on the two
// capture ports.
func (l *lab) awaitListeners(t testing.TB, want int, stderr fmt.Stringer) {
	t.Helper()
	for begin := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		listening := 0
		l.in(l.pod, func() (err error) {
			listening, err = listeners(inboundPort, outboundPort)
			return err
		})
		switch {
		case listening == want:
			return
		case time.Since(begin) > waitLimit:
			t.Fatalf("the capture ports have %d listeners after %s, want %d\n%s", listening, waitLimit, want, stderr)
		}
	}
}

// listeners returns the number of sockets that listen on the ports in the
// thread's network namespace (proc_net_tcp.txt of the kernel's documentation).
func listeners(ports ...int) (int, error) {
	n := 0
	for _, name := range []string{"tcp", "tcp6"} {
		table, err := os.ReadFile("/proc/thread-self/net/" + name)
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(table)) {
			// The local address and the state 0A, TCP_LISTEN.
			fields := strings.Fields(line)
			for _, port := range ports {
				if strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", port)) && fields[3] == "0A" {
					n++
				}
			}
		}
	}
	return n, nil
}

// stop stops Envoy after it has logged the connections of the clients, or after
// waitLimit.
func (e *envoy) stop(t testing.TB, clients ...string) {
	t.Helper()
	limit := time.After(waitLimit)
	for waiting := true; waiting; {
		e.mu.Lock()
		waiting = slices.ContainsFunc(clients, func(c string) bool { _, ok := e.taken[c]; return !ok })
		e.mu.Unlock()
		if !waiting {
			break
		}
		select {
		case _, running := <-e.changed:
			waiting = running
		case <-limit:
			waiting = false
		}
	}
	if err := e.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Errorf("stop Envoy: %v", err)
	}
	for range e.changed {
	}
	if err := e.command.Wait(); err != nil {
		t.Errorf("Envoy: %v\n%s", err, &e.stderr)
	}
	_ = e.logs.Close()
}

// throughEnvoy sends the TCP flows of a column again through Envoy instead of
// the stand-in, first with meshvm's table and then without it. It returns the
// number of flows.
func (l *lab) throughEnvoy(t *testing.T, program string, c column) int {
	t.Helper()
	for _, stop := range l.standIns {
		stop()
	}
	// The sockets of the stand-in can still exist for a short time while a
	// program starts.
	l.awaitListeners(t, 0, &bytes.Buffer{})
	e := l.startEnvoy(t, program)
	type attempt struct {
		when, local string
		observation
	}
	var attempts []attempt
	var mu sync.Mutex
	var proxied []string
	for _, when := range []string{after, before} {
		if when == before {
			if r := l.request(ruleio.OperationRemove, nil); r.Outcome != ruleio.OutcomeRemoved {
				t.Fatalf("the rule-writer returned %s: %s", r.Outcome, r.Message)
			}
		}
		var sent sync.WaitGroup
		for _, x := range cells(t, c, when) {
			if x.flow.network != "tcp" {
				continue
			}
			sent.Go(func() {
				got, local := l.send(x.probe, x.want.limit())
				mu.Lock()
				defer mu.Unlock()
				attempts = append(attempts, attempt{when, local, observation{x, got}})
				if x.want.Proxy != "" {
					proxied = append(proxied, local)
				}
			})
		}
		sent.Wait()
	}
	e.stop(t, proxied...)
	for _, a := range attempts {
		if proxy, ok := e.taken[a.local]; ok {
			a.got.Proxy, a.got.Original = proxy.Proxy, proxy.Original
			if a.got.Server == "" {
				a.got.Failure = proxy.Failure
			}
		}
		if a.got != a.want {
			t.Errorf("Envoy, %s, %s: %s, want %s", a.when, a.probe, a.family.end(a.got, a.probe), a.end.text)
		}
	}
	return len(attempts)
}
