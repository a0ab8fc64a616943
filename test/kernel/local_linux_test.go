// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"meshvm.io/meshvm/internal/requirement"
)

// localTarget is a port of the pod to which a hostile guest tries to connect.
type localTarget struct {
	family family
	// name is the kind of the address, and host is the address.
	name, host string
	port       int
}

func (x localTarget) String() string {
	return fmt.Sprintf("%s (%s), port %d", x.name, x.family.name, x.port)
}

// localPorts contains the ports that a proxy serves to processes of its pod and
// to Prometheus, with a description.
var localPorts = []struct {
	port int
	name string
}{
	{adminPort, "Envoy's administration interface"},
	{agentPort, "Istio's agent"},
	{healthPort, "health"},
	{statsPort, "Envoy's statistics"},
}

// localTargets returns all combinations of local addresses and ports.
func localTargets(families []family) []localTarget {
	var out []localTarget
	for _, f := range families {
		hosts := map[string]string{
			"loopback " + f.loopback: f.loopback, "the gateway": f.gateway, "the pod's address": f.pod, f.upstream: f.upstream,
		}
		for _, name := range slices.Sorted(maps.Keys(hosts)) {
			for _, p := range localPorts {
				out = append(out, localTarget{f, name, hosts[name], p.port})
			}
		}
	}
	return out
}

// reachedFromGuest sends a request to each target from the guest and returns those
// that answered with any byte within the limit.
func (l *lab) reachedFromGuest(t *testing.T, targets []localTarget, limit time.Duration) []localTarget {
	t.Helper()
	reached := make([]bool, len(targets))
	var all sync.WaitGroup
	for i, x := range targets {
		all.Go(func() {
			var c net.Conn
			err := l.guest.Do(func() (err error) {
				d := net.Dialer{Timeout: limit, LocalAddr: &net.TCPAddr{Port: l.nextSourcePort()}}
				c, err = d.Dial(x.family.tcp(), net.JoinHostPort(x.host, strconv.Itoa(x.port)))
				return err
			})
			if err != nil {
				return
			}
			defer func() { _ = c.Close() }()
			_ = c.SetDeadline(time.Now().Add(limit))
			if _, err := io.WriteString(c, "GET /server_info HTTP/1.0\r\n\r\n"); err != nil {
				return
			}
			n, _ := io.ReadFull(c, make([]byte, 1))
			reached[i] = n > 0
		})
	}
	all.Wait()
	var out []localTarget
	for i, x := range targets {
		if reached[i] {
			out = append(out, x)
		}
	}
	return out
}

// TestLocalPorts tests N10: a root user in the guest routes loopback addresses
// to the gateway and connects to the local ports of its proxy, directly and
// through the proxy's outbound port. The proxy is Envoy, with its
// administration interface on loopback as in Istio's bootstrap configuration.
// Stand-ins serve the other ports.
func TestLocalPorts(t *testing.T) {
	need(t)
	program, err := envoyProgram()
	if err != nil {
		requirement.Kernel.Unmet(t, "Envoy is not available: %v", err)
	}
	var mu sync.Mutex
	before := map[string]int{}
	labs := 0
	t.Run("column", func(t *testing.T) {
		for _, c := range columns() {
			if c.istio.ambient || len(c.families) < 2 {
				continue
			}
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				l := newLab(t, c.families...)
				l.writeIstio(c.istio)
				l.addGuest()
				l.writeKubeVirt(c.kubevirt)
				l.startEndpoints()
				for _, f := range l.mesh {
					for _, port := range []int{agentPort, healthPort, statsPort} {
						l.serveTCP(l.pod, f.wildcard, port, answer(serverProxy))
					}
				}
				l.startEnvoyWith(t, program, map[string]any{"admin": map[string]any{"address": socketAddress("127.0.0.1", adminPort)}})
				targets := localTargets(c.families)
				stock := l.reachedFromGuest(t, targets, answerLimit)
				l.apply(c.startPlan())
				for _, x := range l.reachedFromGuest(t, targets, answerLimit) {
					t.Errorf("with meshvm the guest reaches %s", x)
				}
				// An allowed connection must still work, so that missing responses are not
				// caused by a failure of the lab.
				if got := l.run(probe{name: "guest to outside", from: fromGuest, network: ipv4.tcp(), host: outsideIP, port: webPort}, replyTimeout{waitLimit, waitLimit}); got.Server != serverOutside {
					t.Errorf("an allowed connection of the guest ended with %+v", got)
				}
				mu.Lock()
				defer mu.Unlock()
				labs++
				for _, x := range stock {
					before[x.String()]++
				}
			})
		}
	})
	admin := localTarget{family: ipv4, name: "loopback " + ipv4.loopback, port: adminPort}.String()
	if before[admin] == 0 {
		t.Error("with the stock rules the guest does not reach Envoy's administration interface, so the test is not meaningful")
	}
	var b strings.Builder
	b.WriteString("| Local port of the pod | Address that the guest uses | Stock rules | With meshvm |\n|---|---|---|---|\n")
	total := 0
	for _, x := range localTargets([]family{ipv4, ipv6}) {
		i := slices.IndexFunc(localPorts, func(p struct {
			port int
			name string
		},
		) bool {
			return p.port == x.port
		})
		if before[x.String()] > 0 {
			total++
			fmt.Fprintf(&b, "| %d, %s | %s (%s) | reached | not reached |\n", x.port, localPorts[i].name, x.name, x.family.name)
		}
	}
	t.Logf("%d local ports were reached with the stock rules, 0 with meshvm, in %d combinations of rules", total, labs)
	section(t, "local ports", b.String())
}
