// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"meshvm.io/meshvm/internal/netns"
)

// ambientFlow is a flow with its expected outcomes.
type ambientFlow struct {
	probe
	// repair names the defect. It is empty for flows that always work.
	repair string
	// before contains the outcomes with the rules of KubeVirt and Istio only,
	// by the name of KubeVirt's variant. "annotated" is its Istio variant, and
	// "" is the default for other variants.
	before map[string]outcome
	// after is the outcome with meshvm's table.
	after outcome
	// afterIn contains outcomes that differ from after, in the format of
	// before.
	afterIn map[string]outcome
}

func (x ambientFlow) beforeIn(k kubevirt) outcome {
	if o, ok := x.before[k.name]; ok {
		return o
	}
	if o, ok := x.before[annotated.name]; ok && k.istio {
		return o
	}
	return x.before[""]
}

func (x ambientFlow) afterFor(k kubevirt) outcome {
	if o, ok := x.afterIn[k.name]; ok {
		return o
	}
	return x.after
}

// timesOut is the outcome of a probe that ztunnel accepts and whose onward
// connection is not answered.
func (p probe) timesOut(port string) outcome {
	return outcome{Proxy: port, Original: p.destination(), Failure: "no-answer"}
}

// ambientFlows returns the flows of a family in the order of the documentation.
func ambientFlows(f family) []ambientFlow {
	all := func(o outcome) map[string]outcome { return map[string]outcome{"": o} }
	tcpFrom := func(from func(*lab) *netns.Namespace, name, host string, port uint16) probe {
		return probe{name: name, from: from, network: f.tcp(), host: host, port: port}
	}
	hbone := tcpFrom(fromPeer, "client to a mesh port, by HBONE", f.pod, meshPort)
	hbone.tunnel = true
	mesh := tcpFrom(fromPeer, "client to a mesh port, in plain text", f.pod, meshPort)
	kubelet := tcpFrom(fromPeer, "kubelet's probe of a mesh port", f.pod, meshPort)
	kubelet.source = f.kubelet
	kubeletClosed := tcpFrom(fromPeer, "kubelet's probe of a port that is not listed", f.pod, closedPort)
	kubeletClosed.source = f.kubelet
	anywhere := tcpFrom(fromGuest, "guest to anywhere", f.outside, webPort)
	excludedPort := tcpFrom(fromGuest, "guest to an excluded port", f.outside, databasePort)
	excludedNet := tcpFrom(fromGuest, "guest to an excluded network", f.excluded, webPort)
	ntp := probe{name: "guest to a UDP port", from: fromGuest, network: f.udp(), host: f.outside, port: ntpPort}
	direct := tcpFrom(fromPeer, "client to a direct port", f.pod, directPort)
	udp := probe{name: "client to a UDP port", from: fromPeer, network: f.udp(), host: f.pod, port: udpPort}
	closed := tcpFrom(fromPeer, "client to a TCP port that is not listed", f.pod, closedPort)
	hboneClosed := tcpFrom(fromPeer, "client to a TCP port that is not listed, by HBONE", f.pod, closedPort)
	hboneClosed.tunnel = true
	late := tcpFrom(fromPeer, "client to a direct port that was added after the start", f.pod, latePort)
	inPodLate := tcpFrom(fromPod, "process in the pod to 127.0.0.1, a port that was added after the start", f.loopback, latePort)
	inPod := tcpFrom(fromPod, "process in the pod to 127.0.0.1, mesh port", f.loopback, meshPort)
	inPodClosed := tcpFrom(fromPod, "process in the pod to 127.0.0.1, a port that is not listed", f.loopback, closedPort)
	closedUDP := probe{name: "client to a UDP port that is not listed", from: fromPeer, network: f.udp(), host: f.pod, port: closedPort}

	guestSees, outside := directly(serverGuest, f.peer), directly(serverOutside, f.pod)
	// stuck is the outcome of a connection that ztunnel opens to the pod's
	// address in KubeVirt's Istio variant: it reaches the guest over IPv4 and
	// the pod itself over IPv6.
	stuck := func(p probe, port string) outcome {
		if f.number == ipv6.number {
			return p.only(port)
		}
		return p.timesOut(port)
	}
	through := anywhere.through("15001", serverOutside, f.pod)
	flows := []ambientFlow{
		{
			hbone, "N6",
			map[string]outcome{withoutList.name: refused, labeled.name: hbone.only("15008"), "": stuck(hbone, "15008")},
			hbone.through("15008", serverGuest, f.peer), nil,
		},
		{
			mesh, "N6",
			map[string]outcome{"": guestSees, annotated.name: stuck(mesh, "15006")},
			mesh.through("15006", serverGuest, f.peer), nil,
		},
		{
			kubelet, "N6",
			map[string]outcome{"": directly(serverGuest, f.kubelet), annotated.name: refused},
			directly(serverGuest, f.kubelet), nil,
		},
		{
			kubeletClosed, "closed",
			map[string]outcome{"": refused, withoutList.name: directly(serverGuest, f.kubelet)},
			refused, nil,
		},
		{anywhere, "", all(through), through, nil},
		{excludedPort, "N1", all(excludedPort.through("15001", serverOutside, f.pod)), outside, nil},
		{excludedNet, "N1", all(excludedNet.through("15001", serverOutside, f.pod)), outside, nil},
		{ntp, "", all(outside), outside, nil},
		{direct, "N2", map[string]outcome{annotated.name: stuck(direct, "15006"), "": guestSees}, guestSees, nil},
		{udp, "N3", map[string]outcome{annotated.name: refused, "": guestSees}, guestSees, nil},
		{
			closed, "closed",
			map[string]outcome{
				annotatedWithoutList.name: stuck(closed, "15006"),
				withoutList.name:          guestSees,
				"":                        closed.only("15006"),
			},
			closed.only("15006"),
			map[string]outcome{withoutList.name: noAnswer},
		},
		{
			hboneClosed, "closed",
			map[string]outcome{annotatedWithoutList.name: stuck(hboneClosed, "15008"), withoutList.name: refused, "": hboneClosed.only("15008")},
			hboneClosed.only("15008"), nil,
		},
		{
			closedUDP, "closed",
			map[string]outcome{withoutList.name: guestSees, "": refused},
			refused,
			map[string]outcome{withoutList.name: noAnswer},
		},
		{
			late, "",
			map[string]outcome{annotatedWithoutList.name: stuck(late, "15006"), withoutList.name: guestSees, "": late.only("15006")},
			guestSees, nil,
		},
	}
	if f.number == ipv6.number {
		return flows // Packets from a link to ::1 are not answered.
	}
	return append(
		flows,
		ambientFlow{inPod, "", all(directly(serverGuest, f.gateway)), directly(serverGuest, f.gateway), nil},
		ambientFlow{
			inPodLate, "",
			map[string]outcome{annotatedWithoutList.name: directly(serverGuest, f.gateway), withoutList.name: directly(serverGuest, f.gateway), "": refused},
			directly(serverGuest, f.gateway), nil,
		},
		ambientFlow{
			inPodClosed, "closed",
			map[string]outcome{annotatedWithoutList.name: directly(serverGuest, f.gateway), withoutList.name: directly(serverGuest, f.gateway), "": refused},
			refused, nil,
		},
	)
}

// newAmbientLab creates a lab with the stock rules of ambient mode and all
// servers.
func newAmbientLab(t testing.TB, i istio, k kubevirt, families ...family) *lab {
	t.Helper()
	l := newLab(t, families...)
	l.writeIstio(i)
	l.addGuest()
	l.writeKubeVirt(k)
	l.addKubelet()
	l.startEndpoints()
	l.startZtunnel()
	return l
}

// TestAmbient sends all flows with the stock rules and again with meshvm's
// table.
func TestAmbient(t *testing.T) {
	for _, families := range [][]family{{ipv4}, {ipv6}, {ipv4, ipv6}} {
		for _, k := range kubevirts {
			for _, i := range []istio{ambientIptables, ambientNftables} {
				c := column{i, k, families}
				t.Run(c.String(), func(t *testing.T) {
					t.Parallel()
					l := c.newLab(t)
					foreign := l.foreignTables()
					l.expectFlows(t, "before", func(x ambientFlow) outcome { return x.beforeIn(k) })
					l.apply(ambientPlan(families...))
					l.expectFlows(t, "after", func(x ambientFlow) outcome { return x.afterFor(k) })
					if diff := cmp.Diff(foreign, l.foreignTables()); diff != "" {
						t.Errorf("KubeVirt's or Istio's rules changed (-before +after):\n%s", diff)
					}
				})
			}
		}
	}
}

// expectFlows sends all flows of the lab's families in parallel.
func (l *lab) expectFlows(t *testing.T, when string, want func(ambientFlow) outcome) {
	t.Helper()
	var sent sync.WaitGroup
	for _, f := range l.families {
		for _, x := range ambientFlows(f) {
			sent.Go(func() {
				if diff := cmp.Diff(want(x), l.run(x.probe, want(x).limit())); diff != "" {
					t.Errorf("%s, %s, %s (-want +got):\n%s", when, f.name, x.probe, diff)
				}
			})
		}
	}
	sent.Wait()
}

// TestEveryAmbientRuleIsNeeded is TestEveryRuleIsNeeded in ambient mode.
func TestEveryAmbientRuleIsNeeded(t *testing.T) {
	t.Parallel()
	var labs []stockLab
	for _, stock := range []struct {
		istio    istio
		kubevirt kubevirt
	}{{ambientNftables, annotated}, {ambientNftables, labeled}, {ambientNftables, withoutList}, {ambientBlind, annotated}, {ambientNftables, annotatedWithoutList}} {
		s := stockLab{lab: newAmbientLab(t, stock.istio, stock.kubevirt)}
		for _, x := range ambientFlows(ipv4) {
			s.wants = append(s.wants, expectation{x.probe, x.afterFor(stock.kubevirt)})
		}
		s.serveTCP(s.pod, ipv4.wildcard, healthPort, answer(serverProxy))
		s.wants = append(s.wants, localProbes(s.lab, ipv4)...)
		labs = append(labs, s)
	}
	expectNeeded(t, ambientPlan(ipv4), labs)
}

// TestAmbientDNS is TestDNS in ambient mode, in which Istio captures DNS unless
// an annotation of the pod disables it.
func TestAmbientDNS(t *testing.T) {
	eachDNS(t, []istio{ambientIptables, ambientNftables}, func(t *testing.T, c column) {
		t.Helper()
		l := c.newLab(t)
		l.startZtunnelResolver()
		p := ambientPlan(ipv4)
		l.expectDNS(t, c, p)
		if c.istio.dns {
			l.expectFlows(t, "after", func(x ambientFlow) outcome { return x.afterFor(c.kubevirt) })
		}
	})
}
