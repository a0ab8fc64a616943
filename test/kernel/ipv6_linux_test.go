package kernel

import (
	"fmt"
	"net"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"meshvm.io/meshvm/internal/ruleio"
)

// IPv6 addresses of a lab.
const (
	podIPv6     = "fd00:244::8"
	peerIPv6    = "fd00:244::1"
	guestIPv6   = "fd10:0:2::2"
	gatewayIPv6 = "fd10:0:2::1"
	outsideIPv6 = "fd00:99::9"
)

// addIPv6 gives every link of the lab an IPv6 address, before KubeVirt looks at
// the pod's.
func (l *lab) addIPv6() {
	l.t.Helper()
	l.in(l.peer, func() error {
		if err := addressIPv6("lo", outsideIPv6+"/128"); err != nil {
			return err
		}
		if err := addressIPv6("pod", peerIPv6+"/64"); err != nil {
			return err
		}
		return sysctl("ipv6/conf/all/forwarding", "1")
	})
	l.in(l.pod, func() error {
		if err := addressIPv6(podInterface, podIPv6+"/64"); err != nil {
			return err
		}
		if err := addressIPv6(bridge, gatewayIPv6+"/120"); err != nil {
			return err
		}
		if err := sysctl("ipv6/conf/all/forwarding", "1"); err != nil {
			return err
		}
		return defaultRouteIPv6(peerIPv6)
	})
	l.in(l.guest, func() error {
		if err := addressIPv6("eth0", guestIPv6+"/120"); err != nil {
			return err
		}
		return defaultRouteIPv6(gatewayIPv6)
	})
}

// addressIPv6 adds an address that can be used at once.
func addressIPv6(name, cidr string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	ip, network, err := net.ParseCIDR(cidr)
	if err != nil {
		return err
	}
	network.IP = ip
	return netlink.AddrAdd(link, &netlink.Addr{IPNet: network, Flags: unix.IFA_F_NODAD})
}

func defaultRouteIPv6(gateway string) error {
	_, everything, err := net.ParseCIDR("::/0")
	if err != nil {
		return err
	}
	return netlink.RouteAdd(&netlink.Route{Dst: everything, Gw: net.ParseIP(gateway)})
}

// TestIPv6BesideAnIPv4Mesh sends IPv6 through a pod with both families whose
// mesh has IPv4 only.
func TestIPv6BesideAnIPv4Mesh(t *testing.T) {
	l := newLab(t)
	l.writeIstio(istioIptables)
	l.addGuest()
	l.addIPv6()
	l.writeKubeVirt(withoutList)
	for _, p := range []int{meshPort, sshPort, closedPort} {
		l.serveTCP(l.guest, guestIPv6, p, answer(serverGuest))
	}
	l.serveUDP(l.guest, guestIPv6, udpPort, serverGuest)
	l.serveTCP(l.peer, outsideIPv6, webPort, answer(serverOutside))
	l.serveUDP(l.peer, outsideIPv6, ntpPort, serverOutside)

	inwards := func(network string, port uint16) probe {
		return probe{name: fmt.Sprintf("client to %s port %d", network, port), from: fromPeer, network: network, host: podIPv6, port: port}
	}
	outwards := func(network string, port uint16) probe {
		return probe{name: fmt.Sprintf("guest to %s port %d", network, port), from: fromGuest, network: network, host: outsideIPv6, port: port}
	}
	guest, outside := directly(serverGuest, peerIPv6), directly(serverOutside, podIPv6)
	rows := []struct {
		probe
		stock, allow, drop outcome
	}{
		{inwards("tcp6", sshPort), guest, guest, noAnswer},
		{inwards("tcp6", meshPort), guest, noAnswer, noAnswer},
		{inwards("tcp6", closedPort), guest, noAnswer, noAnswer},
		{inwards("udp6", udpPort), guest, guest, noAnswer},
		{outwards("tcp6", webPort), outside, outside, noAnswer},
		{outwards("udp6", ntpPort), outside, outside, noAnswer},
	}
	for _, r := range rows {
		t.Run("stock, "+r.name, func(t *testing.T) { l.expect(t, r.probe, r.stock) })
	}
	l.apply(plan())
	for _, r := range rows {
		t.Run("allow, "+r.name, func(t *testing.T) { l.expect(t, r.probe, r.allow) })
	}
	p := plan()
	p.Unmeshed = ruleio.UnmeshedDrop
	l.apply(p)
	for _, r := range rows {
		t.Run("drop, "+r.name, func(t *testing.T) { l.expect(t, r.probe, r.drop) })
	}
}
