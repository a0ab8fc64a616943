package kernel

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"meshvm.io/meshvm/internal/netns"
)

// situation is a probe with its outcomes.
type situation struct {
	probe
	// repair names the defect, empty for what works in any case.
	repair string
	// before has the outcome with KubeVirt's and Istio's rules alone, by the
	// name of KubeVirt's variant; "" is for all that are not named.
	before map[string]outcome
	// after is the outcome with our table.
	after outcome
	// afterIn has what differs from after, as in before.
	afterIn map[string]outcome
}

// only is the outcome of a probe that the proxy takes and cannot pass on.
func (p probe) only(port string) outcome {
	return outcome{Proxy: port, Original: p.destination(), Failure: "refused"}
}

// situations are those of a family, in the order of the documentation.
func situations(f family) []situation {
	all := func(o outcome) map[string]outcome { return map[string]outcome{"": o} }
	tcpFrom := func(from func(*lab) *netns.Namespace, name, host string, port uint16) probe {
		return probe{name: name, from: from, network: f.tcp(), host: host, port: port}
	}
	excludedPort := tcpFrom(fromGuest, "guest to an excluded port", f.outside, databasePort)
	excludedNet := tcpFrom(fromGuest, "guest to an excluded network", f.excluded, webPort)
	anywhere := tcpFrom(fromGuest, "guest to anywhere else", f.outside, webPort)
	admin := tcpFrom(fromGuest, "guest to the proxy's loopback, port excluded", f.loopback, adminPort)
	mesh := tcpFrom(fromPeer, "client to a mesh port", f.pod, meshPort)
	direct := tcpFrom(fromPeer, "client to an excluded inbound port", f.pod, directPort)
	ssh := tcpFrom(fromPeer, "client to SSH", f.pod, sshPort)
	health := tcpFrom(fromPeer, "kubelet to the proxy's health port 15021", f.pod, healthPort)
	probeMesh := tcpFrom(fromPod, "process in the pod to 127.0.0.1, mesh port", f.loopback, meshPort)
	probeHealth := tcpFrom(fromPod, "proxy's agent to 127.0.0.1, health port 15021", f.loopback, healthPort)
	closed := tcpFrom(fromPeer, "client to a TCP port that nobody listed", f.pod, closedPort)
	closedUDP := probe{name: "client to a UDP port that nobody listed", from: fromPeer, network: f.udp(), host: f.pod, port: closedPort}
	udp := probe{name: "client to a UDP port", from: fromPeer, network: f.udp(), host: f.pod, port: udpPort}

	guestSees := directly(serverGuest, f.peer)
	return []situation{
		{excludedPort, "N1", all(excludedPort.through("15001", serverOutside, f.pod)), directly(serverOutside, f.pod), nil},
		{excludedNet, "N1", all(excludedNet.through("15001", serverOutside, f.pod)), directly(serverOutside, f.pod), nil},
		{anywhere, "", all(anywhere.through("15001", serverOutside, f.pod)), anywhere.through("15001", serverOutside, f.pod), nil},
		{
			admin, "",
			map[string]outcome{
				withoutList.name: {Proxy: "15001", Original: admin.destination(), Failure: "refused"},
				"":               admin.through("15001", serverProxy, f.loopback),
			},
			admin.through("15001", serverProxy, f.loopback), nil,
		},
		{direct, "N2", map[string]outcome{annotated.name: refused, "": guestSees}, guestSees, nil},
		{ssh, "", all(guestSees), guestSees, nil},
		{udp, "N3", map[string]outcome{annotated.name: refused, "": guestSees}, guestSees, nil},
		{
			closed, "closed",
			map[string]outcome{
				annotatedWithoutList.name: closed.through("15006", serverGuest, f.gateway),
				withoutList.name:          guestSees,
				"":                        closed.only("15006"),
			},
			closed.only("15006"),
			map[string]outcome{withoutList.name: noAnswer},
		},
		{
			closedUDP, "closed",
			map[string]outcome{withoutList.name: guestSees, "": refused},
			refused,
			map[string]outcome{withoutList.name: noAnswer},
		},
		{
			mesh, "N5",
			map[string]outcome{annotated.name: mesh.through("15006", serverGuest, f.gateway), "": guestSees},
			mesh.through("15006", serverGuest, f.gateway), nil,
		},
		{
			health, "N5",
			map[string]outcome{withoutList.name: refused, "": directly(serverProxy, f.peer)},
			directly(serverProxy, f.peer), nil,
		},
		{
			probeHealth, "N5",
			map[string]outcome{withoutList.name: refused, "": directly(serverProxy, f.loopback)},
			directly(serverProxy, f.loopback), nil,
		},
		{probeMesh, "", all(directly(serverGuest, f.gateway)), directly(serverGuest, f.gateway), nil},
	}
}

// beforeIn is the outcome without our table in one of KubeVirt's variants.
func (s situation) beforeIn(k kubevirt) outcome {
	for _, name := range []string{k.name, k.column()} {
		if o, ok := s.before[name]; ok {
			return o
		}
	}
	return s.before[""]
}

// afterFor is the outcome with our table in one of KubeVirt's variants.
func (s situation) afterFor(k kubevirt) outcome {
	if o, ok := s.afterIn[k.name]; ok {
		return o
	}
	return s.after
}

// TestRepairs sends every probe with the stock rules and again with our table.
func TestRepairs(t *testing.T) {
	var report report
	for _, k := range kubevirts {
		for _, i := range []istio{istioIptables, istioNftables} {
			t.Run("Istio "+i.name+", KubeVirt "+k.name, func(t *testing.T) {
				l := newLab(t)
				l.writeIstio(i)
				l.addGuest()
				l.writeKubeVirt(k)
				l.startServers()

				for _, s := range situations(ipv4) {
					t.Run("before, "+s.name, func(t *testing.T) {
						report.add(s, k.column(), l.expect(t, s.probe, s.beforeIn(k)))
					})
				}
				foreign := l.foreignTables()
				l.apply(plan())
				for _, s := range situations(ipv4) {
					t.Run("after, "+s.name, func(t *testing.T) {
						report.add(s, withMeshvm, l.expect(t, s.probe, s.afterFor(k)))
					})
				}
				if diff := cmp.Diff(foreign, l.foreignTables()); diff != "" {
					t.Errorf("KubeVirt's or Istio's rules changed (-before +after):\n%s", diff)
				}
			})
		}
	}
	report.check(t)
}

// TestEveryRepairIsNeeded refuses a repair of something that is not broken.
func TestEveryRepairIsNeeded(t *testing.T) {
	for _, s := range situations(ipv4) {
		broken := false
		for _, k := range kubevirts {
			broken = broken || s.beforeIn(k) != s.afterFor(k)
		}
		if s.repair != "" && !broken {
			t.Errorf("%s: %s repairs nothing", s.name, s.repair)
		}
	}
}

// expect runs the probe and compares. It waits longer for an answer that must
// come than for one that must not.
func (l *lab) expect(t *testing.T, p probe, want outcome) outcome {
	t.Helper()
	limit := waitLimit
	if want.Server == "" {
		limit = absenceLimit
	}
	got := l.run(p, limit)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", p, diff)
	}
	return got
}
