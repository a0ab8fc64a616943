// SPDX-License-Identifier: Apache-2.0

// Command masquerade writes KubeVirt's NAT rules of a masquerade interface into
// the current network namespace. It calls the package that virt-handler calls
// (pkg/network/setup/netpod/masquerade). Kernel tests use it to test with
// KubeVirt's rules without a node.
//
//	masquerade [-pod eth0] [-bridge k6t-eth0] [-ports 8080/TCP,53/UDP] [-istio]
//
// Both interfaces must exist and have addresses. As in KubeVirt, the address of
// the guest follows the address of the bridge. The nft program must be in PATH.
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	v1 "kubevirt.io/api/core/v1"
	"kubevirt.io/kubevirt/pkg/network/driver/nmstate"
	"kubevirt.io/kubevirt/pkg/network/setup/netpod/masquerade"
)

func main() {
	pod := flag.String("pod", "eth0", "the pod's interface")
	bridge := flag.String("bridge", "k6t-eth0", "the bridge to the guest")
	ports := flag.String("ports", "", "the ports of the VMI interface, as PORT/PROTOCOL,...; if empty, all ports are forwarded")
	withIstio := flag.Bool("istio", false, "write the rules of a VMI with the annotation sidecar.istio.io/inject")
	flag.Parse()
	if err := run(*pod, *bridge, *ports, *withIstio); err != nil {
		fmt.Fprintln(os.Stderr, "masquerade:", err)
		os.Exit(1)
	}
}

func run(pod, bridge, ports string, withIstio bool) error {
	podSpec, err := spec(pod)
	if err != nil {
		return err
	}
	bridgeSpec, err := spec(bridge)
	if err != nil {
		return err
	}
	iface := v1.Interface{Name: "default"}
	if iface.Ports, err = parsePorts(ports); err != nil {
		return err
	}
	return masquerade.New(masquerade.WithIstio(withIstio)).Setup(bridgeSpec, podSpec, iface)
}

// parsePorts parses "8080/TCP,53/UDP".
func parsePorts(list string) ([]v1.Port, error) {
	var out []v1.Port
	for _, item := range strings.FieldsFunc(list, func(r rune) bool { return r == ',' }) {
		number, protocol, _ := strings.Cut(item, "/")
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil {
			return nil, fmt.Errorf("port %q: must be PORT/PROTOCOL, for example 8080/TCP", item)
		}
		if protocol == "" {
			protocol = "TCP"
		}
		out = append(out, v1.Port{Port: int32(n), Protocol: strings.ToUpper(protocol)})
	}
	return out, nil
}

// spec describes an interface of this network namespace like virt-handler's
// state file.
func spec(name string) (*nmstate.Interface, error) {
	link, err := net.InterfaceByName(name)
	if err != nil {
		return nil, fmt.Errorf("interface %s: %w (run the program inside the prepared network namespace)", name, err)
	}
	addrs, err := link.Addrs()
	if err != nil {
		return nil, err
	}
	out := &nmstate.Interface{Name: name}
	yes := true
	for _, a := range addrs {
		n, ok := a.(*net.IPNet)
		if !ok || n.IP.IsLinkLocalUnicast() {
			continue
		}
		length, _ := n.Mask.Size()
		address := nmstate.IPAddress{IP: n.IP.String(), PrefixLen: length}
		if n.IP.To4() != nil {
			out.IPv4.Enabled = &yes
			out.IPv4.Address = append(out.IPv4.Address, address)
		} else {
			out.IPv6.Enabled = &yes
			out.IPv6.Address = append(out.IPv6.Address, address)
		}
	}
	if out.IPv4.Enabled == nil && out.IPv6.Enabled == nil {
		return nil, fmt.Errorf("interface %s does not have an address", name)
	}
	return out, nil
}
