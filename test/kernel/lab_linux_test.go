// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/ruleio"
)

// Addresses and names of a lab.
const (
	podInterface = "eth0"
	bridge       = "k6t-eth0"
	podIP        = "10.244.0.8"
	peerIP       = "10.244.0.1"
	guestIP      = "10.0.2.2"
	gatewayIP    = "10.0.2.1"
	// outsideIP is a host outside. excludedIP is a host in excludedCIDR.
	outsideIP    = "203.0.113.9"
	excludedIP   = "198.51.100.7"
	excludedCIDR = "198.51.100.0/24"
)

// proxyUID is the user ID of Istio's proxy.
const proxyUID = 1337

// lab is a pod with its environment.
type lab struct {
	t                testing.TB
	pod, peer, guest *netns.Namespace
	// families are the families of all links. mesh are the families that the
	// proxy and Istio's rules carry.
	families, mesh []family
	// applied is the plan of the table in the pod, or nil.
	applied *ruleio.NATPlan
	// probes is the number of probes that were sent.
	probes atomic.Uint32
	// standIns stop the capture ports of the proxy stand-in.
	standIns []func()
}

// newLab creates the three network namespaces and the pod's interface, with
// IPv4 if no family is given. addGuest adds the link to the guest later, as in
// KubeVirt, where Istio's rules are written first.
func newLab(t testing.TB, families ...family) *lab {
	t.Helper()
	need(t)
	if len(families) == 0 {
		families = []family{ipv4}
	}
	l := &lab{t: t, pod: newNamespace(t), peer: newNamespace(t), guest: newNamespace(t), families: families, mesh: families}
	for _, ns := range []*netns.Namespace{l.pod, l.peer, l.guest} {
		// Without duplicate address detection, and without a rate limit for
		// answers to datagrams to closed ports.
		l.in(ns, func() error {
			return errors.Join(sysctl("ipv6/conf/default/accept_dad", "0"),
				sysctl("ipv4/icmp_ratelimit", "0"), sysctl("ipv6/icmp/ratelimit", "0"))
		})
	}
	l.in(l.peer, func() error { return setUp("lo") })
	l.in(l.pod, func() error { return setUp("lo") })
	l.veth(l.peer, "pod", l.pod, podInterface)
	l.in(l.peer, func() error { return setUp("pod") })
	l.in(l.pod, func() error { return setUp(podInterface) })
	for _, f := range families {
		l.in(l.peer, func() error {
			return errors.Join(addTo("lo", f.outside, f.length), addTo("lo", f.excluded, f.length),
				addTo("pod", f.peer, f.length), sysctl(f.forwarding, "1"))
		})
		l.in(l.pod, func() error {
			return errors.Join(addTo(podInterface, f.pod, f.length), defaultRoute(f.peer))
		})
	}
	return l
}

// addGuest creates the objects that virt-handler creates before it writes
// rules: the bridge with its address, forwarding, and route_localnet on the
// bridge (KubeVirt, pkg/network/setup/netpod/netpod.go). A veth replaces the
// tap device.
func (l *lab) addGuest() {
	l.t.Helper()
	l.in(l.pod, func() error {
		attributes := netlink.NewLinkAttrs()
		attributes.Name = bridge
		if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attributes}); err != nil {
			return fmt.Errorf("add the bridge: %w", err)
		}
		return errors.Join(setUp(bridge), sysctl("ipv4/conf/"+bridge+"/route_localnet", "1"))
	})
	l.veth(l.pod, "tap0", l.guest, "eth0")
	l.in(l.pod, func() error { return errors.Join(setMaster("tap0", bridge), setUp("tap0")) })
	l.in(l.guest, func() error {
		// Loopback is down, so that the guest can try to send packets to
		// 127.0.0.0/8 through its gateway like a hostile guest.
		return errors.Join(setUp("eth0"), sysctl("ipv4/conf/eth0/route_localnet", "1"))
	})
	for _, f := range l.families {
		l.in(l.pod, func() error {
			return errors.Join(addTo(bridge, f.gateway, f.guestLength), sysctl(f.forwarding, "1"))
		})
		l.in(l.guest, func() error {
			return errors.Join(addTo("eth0", f.guest, f.guestLength), defaultRoute(f.gateway))
		})
	}
}

// in runs f in a network namespace and fails the test if f fails.
func (l *lab) in(ns *netns.Namespace, f func() error) {
	l.t.Helper()
	if err := ns.Do(f); err != nil {
		l.t.Fatal(err)
	}
}

// veth creates a pair with one end in each network namespace.
func (l *lab) veth(a *netns.Namespace, aName string, b *netns.Namespace, bName string) {
	l.t.Helper()
	path := l.procPath(b)
	l.in(a, func() error {
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }()
		attributes := netlink.NewLinkAttrs()
		attributes.Name = aName
		pair := &netlink.Veth{LinkAttrs: attributes, PeerName: bName, PeerNamespace: netlink.NsFd(int(file.Fd()))}
		if err := netlink.LinkAdd(pair); err != nil {
			return fmt.Errorf("add veth %s: %w", aName, err)
		}
		return nil
	})
}

// procPath returns a path by which this process can open the network namespace
// from any thread.
func (l *lab) procPath(ns *netns.Namespace) string {
	return filepath.Join("/proc", strconv.Itoa(os.Getpid()), "fd", strconv.Itoa(int(ns.Fd())))
}

// newNamespace creates a network namespace that exists until the end of the
// test.
func newNamespace(t testing.TB) *netns.Namespace {
	t.Helper()
	type made struct {
		ns  *netns.Namespace
		err error
	}
	result := make(chan made)
	go func() {
		// The thread remains locked, so it is terminated with the goroutine.
		runtime.LockOSThread()
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			result <- made{err: err}
			return
		}
		ns, err := netns.Open("/proc/thread-self/ns/net")
		result <- made{ns, err}
	}()
	m := <-result
	if m.err != nil {
		t.Fatalf("create a network namespace: %v", m.err)
	}
	t.Cleanup(func() { _ = m.ns.Close() })
	return m.ns
}

func setUp(name string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	return netlink.LinkSetUp(link)
}

func addTo(name, host string, length int) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	if err := netlink.AddrAdd(link, address(host, length)); err != nil {
		return fmt.Errorf("add %s to %s: %w", host, name, err)
	}
	return nil
}

func setMaster(name, master string) error {
	link, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("find link %s: %w", name, err)
	}
	m, err := netlink.LinkByName(master)
	if err != nil {
		return fmt.Errorf("find link %s: %w", master, err)
	}
	return netlink.LinkSetMaster(link, m)
}

// sysctl sets a value below /proc/sys/net in the thread's network namespace.
func sysctl(name, value string) error {
	return os.WriteFile(filepath.Join("/proc/sys/net", name), []byte(value), 0o644)
}
