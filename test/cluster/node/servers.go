// SPDX-License-Identifier: Apache-2.0

//go:build linux

package node

import (
	"bytes"
	"context"
	"crypto/tls"
	"embed"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"text/template"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

//go:embed files
var files embed.FS

// values are used in the configuration files and command lines.
type values struct {
	Config
	IP     string // the node's address
	PKI    string // directory with keys in the node
	Socket string
	Pause  string
	Conf   string // directory with configuration files in the node
	DNS    string // address of the cluster's DNS
}

// servers writes the configuration and starts the servers in order.
func servers(s *supervisor, c Config) error {
	ip, _, err := net.ParseCIDR(c.Address)
	if err != nil {
		return err
	}
	v := values{Config: c, IP: ip.String(), PKI: filepath.Join(stateMount, PKIDir), Socket: Socket, Pause: PauseImage, Conf: "/etc/meshvm-node", DNS: DNSAddress}
	if err := v.writeFiles(); err != nil {
		return err
	}
	kube := filepath.Join(programsMount, "kube")
	if err := s.start("containerd", "/usr/bin/containerd", "--config", v.Conf+"/containerd.toml"); err != nil {
		return err
	}
	if c.Role == ControlPlane {
		if err := v.controlPlane(s, kube); err != nil {
			return err
		}
	}
	if err := await(s, "containerd", criReady); err != nil {
		return err
	}
	if err := s.start("kubelet", kube, v.kubelet()...); err != nil {
		return err
	}
	if err := s.start("kube-proxy", kube, "--config="+v.Conf+"/kube-proxy.yaml", "--hostname-override="+v.Name); err != nil {
		return err
	}
	s.phase(Ready, "")
	return nil
}

// controlPlane starts etcd and the control plane's servers.
func (v values) controlPlane(s *supervisor, kube string) error {
	s.phase(Starting, "etcd and kube-apiserver")
	if err := s.start("etcd", kube, v.etcd()...); err != nil {
		return err
	}
	if err := s.start("kube-apiserver", kube, v.apiserver()...); err != nil {
		return err
	}
	// kube-controller-manager exits if no API server responds. The other servers
	// wait.
	if err := await(s, "kube-apiserver", v.apiReady); err != nil {
		return err
	}
	if err := s.start("kube-controller-manager", kube, v.controllerManager()...); err != nil {
		return err
	}
	return s.start("kube-scheduler", kube, v.scheduler()...)
}

// writeFiles renders the embedded templates.
func (v values) writeFiles() error {
	if err := os.MkdirAll(v.Conf+"/cni", 0o755); err != nil {
		return err
	}
	all, err := template.ParseFS(files, "files/*")
	if err != nil {
		return err
	}
	for _, t := range all.Templates() {
		var out bytes.Buffer
		if err := t.Execute(&out, v); err != nil {
			return err
		}
		name := t.Name()
		if filepath.Ext(name) == ".conflist" {
			name = "cni/" + name
		}
		if err := os.WriteFile(filepath.Join(v.Conf, name), out.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

const etcdURL = "http://127.0.0.1:2379"

func (v values) etcd() []string {
	return []string{
		"--name=" + v.Name, "--data-dir=/var/lib/etcd", "--log-level=warn", "--unsafe-no-fsync",
		"--listen-client-urls=" + etcdURL, "--advertise-client-urls=" + etcdURL,
		"--listen-peer-urls=http://127.0.0.1:2380", "--initial-advertise-peer-urls=http://127.0.0.1:2380",
		"--initial-cluster=" + v.Name + "=http://127.0.0.1:2380",
	}
}

func (v values) apiserver() []string {
	return []string{
		"--etcd-servers=" + etcdURL, "--bind-address=" + v.IP, "--advertise-address=" + v.IP, "--secure-port=6443",
		"--tls-cert-file=" + v.PKI + "/apiserver.crt", "--tls-private-key-file=" + v.PKI + "/apiserver.key",
		"--client-ca-file=" + v.PKI + "/ca.crt", "--service-account-issuer=https://kubernetes.default.svc",
		// This is a certificate, because private keys of an elliptic curve are not
		// accepted.
		"--service-account-key-file=" + v.PKI + "/sa.crt", "--service-account-signing-key-file=" + v.PKI + "/sa.key",
		"--service-cluster-ip-range=" + v.ServiceCIDR, "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--kubelet-client-certificate=" + v.PKI + "/apiserver-kubelet-client.crt",
		"--kubelet-client-key=" + v.PKI + "/apiserver-kubelet-client.key",
		"--kubelet-certificate-authority=" + v.PKI + "/ca.crt", "--kubelet-preferred-address-types=InternalIP",
		"--requestheader-client-ca-file=" + v.PKI + "/front-proxy-ca.crt", "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + v.PKI + "/front-proxy-client.crt", "--proxy-client-key-file=" + v.PKI + "/front-proxy-client.key",
		"--audit-policy-file=" + v.Conf + "/audit.yaml", "--audit-log-path=/var/log/" + AuditLog,
		"--allow-privileged=true", "--shutdown-delay-duration=0", "--cert-dir=/run/kube-apiserver",
	}
}

// client returns the flags of a server of the control plane for the API server.
func (v values) client(name string) []string {
	k := v.PKI + "/" + name + ".kubeconfig"
	return []string{
		"--kubeconfig=" + k, "--authentication-kubeconfig=" + k, "--authorization-kubeconfig=" + k,
		"--bind-address=127.0.0.1", "--leader-elect=false",
	}
}

func (v values) controllerManager() []string {
	return append(v.client("kube-controller-manager"),
		"--use-service-account-credentials=true", "--service-account-private-key-file="+v.PKI+"/sa.key",
		"--root-ca-file="+v.PKI+"/ca.crt", "--allocate-node-cidrs=false",
		"--cluster-cidr="+v.ClusterCIDR, "--service-cluster-ip-range="+v.ServiceCIDR)
}

func (v values) scheduler() []string { return v.client("kube-scheduler") }

func (v values) kubelet() []string {
	return []string{
		"--config=" + v.Conf + "/kubelet.yaml", "--kubeconfig=" + v.PKI + "/kubelet.kubeconfig",
		"--root-dir=/var/lib/kubelet", "--cert-dir=/run/kubelet", "--node-ip=" + v.IP, "--hostname-override=" + v.Name,
	}
}

// await polls until ready, a server exits, or two minutes have passed.
func await(s *supervisor, what string, ready func() error) error {
	s.phase(Starting, "waiting for %s", what)
	deadline := time.Now().Add(2 * time.Minute)
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	var err error
	for time.Now().Before(deadline) {
		if err = ready(); err == nil {
			return nil
		}
		if m := s.failed(); m != "" {
			return fmt.Errorf("%s", m)
		}
		<-tick.C
	}
	return fmt.Errorf("%s not ready after two minutes: %w; see %s/%s.log", what, err, LogDir, what)
}

func (v values) apiReady() error {
	client := http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // only asks whether it is up
	}}
	r, err := client.Get("https://" + net.JoinHostPort(v.IP, "6443") + "/readyz")
	if err != nil {
		return err
	}
	defer r.Body.Close() //nolint:errcheck // nothing is read
	if r.StatusCode != http.StatusOK {
		return fmt.Errorf("/readyz: %s", r.Status)
	}
	return nil
}

// criReady sends the kubelet's first request to containerd. The kubelet exits
// if it receives no response, and the socket exists before containerd responds.
// The request can be empty, and the response is ignored (cri-api,
// runtime/v1/api.proto, Version).
func criReady() error {
	conn, err := grpc.NewClient("unix://"+Socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // nothing was written
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	return conn.Invoke(ctx, "/runtime.v1.RuntimeService/Version", &emptypb.Empty{}, &emptypb.Empty{})
}
