// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"meshvm.io/meshvm/internal/netns"
	"meshvm.io/meshvm/internal/nft"
	"meshvm.io/meshvm/internal/nftrules"
	"meshvm.io/meshvm/internal/ruleio"
	"meshvm.io/meshvm/internal/rulewriter"
)

// output runs a program in a network namespace and fails the test if the
// program fails.
func (l *lab) output(ns *netns.Namespace, stdin, program string, args ...string) string {
	l.t.Helper()
	var stdout, stderr bytes.Buffer
	l.in(ns, func() error {
		c := exec.Command(program, args...)
		c.Stdin, c.Stdout, c.Stderr = strings.NewReader(stdin), &stdout, &stderr
		// A program that is started from a locked thread runs in the namespaces
		// of the thread.
		if err := c.Run(); err != nil {
			return fmt.Errorf("%s %s: %w\n%s%s", filepath.Base(program), strings.Join(args, " "), err, &stdout, &stderr)
		}
		return nil
	})
	return stdout.String()
}

// istio specifies how Istio's rules are written.
type istio struct {
	name string
	// native selects nftables instead of iptables.
	native bool
	// dns enables Istio's DNS capture.
	dns bool
	// ipv4Only disables Istio's setting ISTIO_DUAL_STACK: the mesh of a
	// dual-stack pod carries only IPv4.
	ipv4Only bool
	// ambient selects istio-cni's rules of ambient mode instead of the rules of
	// a sidecar.
	ambient bool
	// blind means that Istio's rules do not match the bridge: the annotation
	// kubevirtInterfaces is missing or has no effect (istio#57662).
	blind bool
	// none means that Istio's rules are not written.
	none bool
}

var (
	istioIptables = istio{name: "iptables"}
	istioNftables = istio{name: "nftables", native: true}
	istioBlind    = istio{name: "iptables, without the bridge", blind: true}
	istioNone     = istio{name: "no-istio", none: true}
)

// istioArguments returns the arguments with which Istio's injector starts
// istio-init in a virt-launcher pod whose user has excluded a network, a port
// and an inbound port (Istio,
// manifests/charts/istio-control/istio-discovery/files/injection-template.yaml).
func istioArguments(i istio, families []family) []string {
	var excluded []string
	for _, f := range families {
		excluded = append(excluded, f.excludedCIDR)
	}
	args := []string{
		"istio-iptables", "-p", strconv.Itoa(outboundPort), "-z", strconv.Itoa(inboundPort),
		"-u", strconv.Itoa(proxyUID), "-g", strconv.Itoa(proxyUID), "-m", "REDIRECT",
		"-i", "*", "-x", strings.Join(excluded, ","), "-b", "*",
		"-d", joinPorts(statsPort, healthPort, agentPort, directPort),
		"-o", strconv.Itoa(databasePort), "--log_output_level", "all:error",
	}
	if !i.blind {
		args = append(args, "-k", bridge)
	}
	if len(families) > 1 {
		args = append(args, "--dual-stack")
	}
	if i.native {
		args = append(args, "--native-nftables")
	}
	return args
}

func (l *lab) writeIstio(i istio) {
	l.t.Helper()
	if i.none {
		// Other objects that Istio creates: the source address of the proxy's
		// inbound connections (Istio, tools/common/tproxy/run_linux.go).
		for _, f := range l.mesh {
			if f.number == ipv6.number {
				l.in(l.pod, func() error { return addTo("lo", f.upstream, 128) })
			}
		}
		return
	}
	if i.ipv4Only {
		l.mesh = []family{ipv4}
	}
	if i.ambient {
		l.output(l.pod, "", upstreamPrograms(l.t).ambient, ambientArguments(i, l.mesh)...)
		return
	}
	args := istioArguments(i, l.mesh)
	if i.dns {
		// The port of the resolver is fixed in Istio. The resolvers are read
		// from /etc/resolv.conf unless all are captured.
		args = append(args, "--redirect-dns", "--capture-all-dns")
	}
	l.output(l.pod, "", upstreamPrograms(l.t).pilotAgent, args...)
}

// kubevirt specifies which variant of KubeVirt's rules is written.
type kubevirt struct {
	name string
	// istio selects KubeVirt's Istio variant: the VMI has the annotation.
	istio bool
	// ports reports whether the VMI's interface lists ports.
	ports bool
}

var (
	annotated            = kubevirt{name: "annotation", istio: true, ports: true}
	annotatedWithoutList = kubevirt{name: "annotation, no port list", istio: true}
	labeled              = kubevirt{name: "label only", ports: true}
	withoutList          = kubevirt{name: "label only, no port list"}
	// These are all variants of KubeVirt's rules.
	kubevirts = []kubevirt{
		annotated, annotatedWithoutList, labeled, withoutList,
	}
)

// words returns the conditions of matrix.txt that apply.
func (k kubevirt) words() []string {
	words := []string{"label", "no-ports"}
	if k.istio {
		words[0] = "annotation"
	}
	if k.ports {
		words[1] = "ports"
	}
	return words
}

func (l *lab) writeKubeVirt(k kubevirt) {
	l.t.Helper()
	args := []string{"-pod", podInterface, "-bridge", bridge}
	if k.istio {
		args = append(args, "-istio")
	}
	if k.ports {
		args = append(args, "-ports", strings.Join([]string{
			strconv.Itoa(sshPort) + "/TCP", strconv.Itoa(meshPort) + "/TCP",
			strconv.Itoa(directPort) + "/TCP", strconv.Itoa(udpPort) + "/UDP",
		}, ","))
	}
	l.output(l.pod, "", upstreamPrograms(l.t).masquerade, args...)
}

func upstreamPrograms(t testing.TB) programs {
	t.Helper()
	p, err := upstream()
	if err != nil {
		t.Fatalf("KubeVirt's and Istio's rule writers: %v", err)
	}
	return p
}

func joinPorts(ports ...int) string {
	texts := make([]string, len(ports))
	for i, p := range ports {
		texts[i] = strconv.Itoa(p)
	}
	return strings.Join(texts, ",")
}

// plan returns the plan of the lab's user for a pod with IPv4.
func plan() ruleio.NATPlan { return planOf(ipv4) }

// planOf returns the plan of the lab's user for a pod whose mesh carries the
// families.
func planOf(families ...family) ruleio.NATPlan {
	p := ruleio.NATPlan{
		PodInterface: podInterface,
		Bridge:       bridge,
		Proxy: ruleio.Proxy{
			InboundPort: inboundPort, OutboundPort: outboundPort,
			LocalPorts: []uint16{adminPort, outboundPort, 15004, inboundPort, 15008, 15009, agentPort, healthPort, 15053, statsPort},
		},
		Inbound: ruleio.Inbound{Mesh: []uint16{meshPort}, DirectTCP: ruleio.Ports(sshPort, directPort), DirectUDP: ruleio.Ports(udpPort)},
		// The administration port is excluded by mistake.
		Outbound: ruleio.Outbound{ExcludePorts: ruleio.Ports(databasePort, adminPort)},
	}
	for _, f := range families {
		p.Families = append(p.Families, ruleio.Family{Name: f.nft, Guest: f.guest, Gateway: f.gateway, Pod: f.pod})
		p.Outbound.ExcludeCIDRs = append(p.Outbound.ExcludeCIDRs, f.excludedCIDR)
	}
	return p
}

// podUID is the UID of the lab's pod.
const podUID = "0b6e5a54-7c5e-4f6e-9c52-7d2f6a1c9e11"

// proc creates a proc file system with one process of the lab's pod and one
// process of the host.
func (l *lab) proc() string {
	l.t.Helper()
	root := l.t.TempDir()
	for pid, p := range map[string]struct {
		cgroup string
		ns     *netns.Namespace
	}{
		"1":  {"0::/init.scope\n", l.peer},
		"42": {"0::/../../kubepods-burstable-pod" + strings.ReplaceAll(podUID, "-", "_") + ".slice/cri-containerd-1f.scope\n", l.pod},
	} {
		dir := filepath.Join(root, pid, "ns")
		if err := os.MkdirAll(dir, 0o755); err != nil {
			l.t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, pid, "cgroup"), []byte(p.cgroup), 0o600); err != nil {
			l.t.Fatal(err)
		}
		if err := os.Symlink(l.procPath(p.ns), filepath.Join(dir, "net")); err != nil {
			l.t.Fatal(err)
		}
	}
	return root
}

// request runs the rule-writer on the lab's pod and returns the result.
func (l *lab) request(operation ruleio.Operation, p *ruleio.NATPlan) ruleio.TargetResult {
	l.t.Helper()
	return l.handle(ruleio.Target{Operation: operation, PodUID: podUID, PodIPs: l.podIPs(), Plan: p})
}

// podIPs returns the addresses of the pod.
func (l *lab) podIPs() []string {
	out := make([]string, len(l.families))
	for i, f := range l.families {
		out[i] = f.pod
	}
	return out
}

// handle runs the rule-writer on a target and returns the result.
func (l *lab) handle(target ruleio.Target) ruleio.TargetResult {
	l.t.Helper()
	request, err := json.Marshal(ruleio.Request{Version: ruleio.RequestVersion, Targets: []ruleio.Target{target}})
	if err != nil {
		l.t.Fatal(err)
	}
	r := rulewriter.Run(context.Background(), rulewriter.OnNode(netns.Finder{Root: l.proc()}), request)
	if len(r.Targets) != 1 {
		l.t.Fatalf("the rule-writer did not handle the target: %s", r.Message)
	}
	return r.Targets[0]
}

// apply writes the plan with the rule-writer and requires success.
func (l *lab) apply(p ruleio.NATPlan) ruleio.TargetResult {
	l.t.Helper()
	r := l.request(ruleio.OperationApply, &p)
	if r.Outcome != ruleio.OutcomeApplied {
		l.t.Fatalf("the rule-writer returned %s: %s", r.Outcome, r.Message)
	}
	l.applied = &p
	return r
}

// ruleset returns the listing of the nft program without counters.
func (l *lab) ruleset() string {
	l.t.Helper()
	return l.output(l.pod, "", "nft", "-s", "list", "ruleset")
}

// ourTable returns the listing of meshvm's table by the nft program.
func (l *lab) ourTable() string {
	l.t.Helper()
	return l.output(l.pod, "", "nft", "-s", "list", "table", nft.FamilyInet, nftrules.TableName)
}

// ours matches meshvm's table in a listing of the ruleset.
var ours = regexp.MustCompile(`(?ms)^table inet meshvm \{\n.*?^\}\n`)

// foreignTables returns the ruleset without meshvm's table.
func (l *lab) foreignTables() string {
	l.t.Helper()
	return ours.ReplaceAllString(l.ruleset(), "")
}

// nftStyle returns the notation of the installed nft.
func (l *lab) nftStyle() nft.Style {
	l.t.Helper()
	if version := l.output(l.pod, "", "nft", "--version"); strings.Contains(version, "v1.0.") {
		return nft.StylePortable
	}
	return nft.StyleNFT11
}
