// SPDX-License-Identifier: Apache-2.0

// Command ambient writes Istio's in-pod rules, route and routing rule of
// ambient mode into the current network namespace. It calls the package that
// istio-cni's node agent calls for each pod that it enrolls
// (cni/pkg/trafficmanager). Kernel tests use it to test with Istio's rules
// without a node.
//
//	ambient [-native-nftables] [-interfaces k6t-eth0] [-dns] [-ipv6]
//
// The programs iptables-save and iptables-restore, or nft, must be in PATH.
package main

import (
	"flag"
	"fmt"
	"net/netip"
	"os"
	"strings"

	"istio.io/istio/cni/pkg/config"
	"istio.io/istio/cni/pkg/iptables"
	"istio.io/istio/cni/pkg/scopes"
	"istio.io/istio/cni/pkg/trafficmanager"
	"istio.io/istio/pkg/log"
)

// Sources of the kubelet's probes (Istio, cni/pkg/nodeagent,
// DefaultHostProbeSNATIP and DefaultHostProbeSNATIPV6).
var (
	probeIPv4 = netip.MustParseAddr("169.254.7.127")
	probeIPv6 = netip.MustParseAddr("fd16:9254:7127:1337:ffff:ffff:ffff:ffff")
)

func main() {
	native := flag.Bool("native-nftables", false, "write nftables rules instead of iptables rules")
	interfaces := flag.String("interfaces", "", "the pod's annotation istio.io/reroute-virtual-interfaces: NAME,...")
	dns := flag.Bool("dns", false, "capture DNS, like the pod annotation ambient.istio.io/dns-capture")
	ipv6 := flag.Bool("ipv6", false, "write IPv6 rules as well")
	flag.Parse()
	if err := run(*native, *interfaces, *dns, *ipv6); err != nil {
		fmt.Fprintln(os.Stderr, "ambient:", err)
		os.Exit(1)
	}
}

func run(native bool, interfaces string, dns, ipv6 bool) error {
	options := log.DefaultOptions()
	options.SetDefaultOutputLevel(log.OverrideScopeName, log.ErrorLevel)
	if err := log.Configure(options); err != nil {
		return err
	}
	cfg := &config.AmbientConfig{EnableIPv6: ipv6, HostProbeSNATAddress: probeIPv4, HostProbeV6SNATAddress: probeIPv6}
	_, pod, err := trafficmanager.NewTrafficRuleManager(&trafficmanager.TrafficRuleManagerConfig{
		NativeNftables: native, HostConfig: cfg, PodConfig: cfg, NlDeps: iptables.RealNlDeps(),
	})
	if err != nil {
		return err
	}
	overrides := config.PodLevelOverrides{DNSProxy: config.PodDNSDisabled}
	if dns {
		overrides.DNSProxy = config.PodDNSEnabled
	}
	overrides.VirtualInterfaces = strings.FieldsFunc(interfaces, func(r rune) bool { return r == ',' })
	return pod.CreateInpodRules(scopes.CNIAgent, overrides)
}
