// SPDX-License-Identifier: Apache-2.0

// Package pki creates the certificates and kubeconfig files of a test cluster.
// Their keys are stored in plain files and cannot be used outside the cluster.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"
)

// lifetime exceeds the time for which state is kept.
const lifetime = 5 * 365 * 24 * time.Hour

// Request describes the certificates.
type Request struct {
	Dir    string   // directory of the files
	Server string   // URL of the API server
	Node   string   // name of the node
	IPs    []net.IP // addresses of the servers
}

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  []byte
}

// authorityFile contains the key that signs workers' certificates.
const authorityFile = "ca"

// WriteWorker writes the files of a node without a control plane. The
// certificates are signed by the authority in a directory that Write created.
func WriteWorker(r Request, authorityDir string) error {
	done := filepath.Join(r.Dir, "kubelet.kubeconfig")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(filepath.Join(authorityDir, authorityFile+".crt"), filepath.Join(authorityDir, authorityFile+".key"))
	if err != nil {
		return fmt.Errorf("the cluster's certificate authority: %w (if an older version created the cluster, remove it with local-cluster down)", err)
	}
	key, ok := pair.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return fmt.Errorf("the cluster's certificate authority has a key of type %T", pair.PrivateKey)
	}
	ca := &authority{pair.Leaf, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: pair.Certificate[0]})}
	return errors.Join(
		r.write(authorityFile+".crt", ca.pem),
		r.issue(ca, "kubelet", r.Node, "", []string{"localhost", r.Node}),
		r.kubeconfig(ca, identity{"kube-proxy", "system:kube-proxy", ""}),
		r.kubeconfig(ca, identity{"kubelet", "system:node:" + r.Node, "system:nodes"}), // written last
	)
}

// identity is a client of the API server.
type identity struct {
	file, user, group string
}

// Write writes all files unless they exist, so that a cluster keeps its keys.
func Write(r Request) error {
	done := filepath.Join(r.Dir, "admin.kubeconfig")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	if err := os.MkdirAll(r.Dir, 0o700); err != nil {
		return err
	}
	ca, err := r.authority(authorityFile, "meshvm-test-ca")
	if err != nil {
		return err
	}
	front, err := r.authority("front-proxy-ca", "meshvm-test-front-proxy-ca")
	if err != nil {
		return err
	}
	apiNames := []string{"localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"}
	return errors.Join(
		r.issue(front, "front-proxy-client", "front-proxy-client", "", nil),
		r.issue(ca, "apiserver", "kube-apiserver", "", append(apiNames, r.Node)),
		r.issue(ca, "apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters", nil),
		r.issue(ca, "kubelet", r.Node, "", []string{"localhost", r.Node}),
		r.issue(ca, "sa", "service-account", "", nil),
		r.kubeconfig(ca, identity{"kube-controller-manager", "system:kube-controller-manager", ""}),
		r.kubeconfig(ca, identity{"kube-scheduler", "system:kube-scheduler", ""}),
		r.kubeconfig(ca, identity{"kube-proxy", "system:kube-proxy", ""}),
		r.kubeconfig(ca, identity{"kubelet", "system:node:" + r.Node, "system:nodes"}),
		r.kubeconfig(ca, identity{"admin", "admin", "system:masters"}), // written last: if it exists, all files exist
	)
}

func (r Request) authority(file, name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	t, err := template(name, "")
	if err != nil {
		return nil, err
	}
	t.IsCA, t.BasicConstraintsValid, t.KeyUsage = true, true, t.KeyUsage|x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, t, t, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	a := &authority{cert, key, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})}
	return a, errors.Join(
		r.write(file+".crt", a.pem),
		r.write(file+".key", pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw})),
	)
}

func template(name, group string) (*x509.Certificate, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, err
	}
	t := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{CommonName: name},
		NotBefore:    time.Now().Add(-time.Hour), NotAfter: time.Now().Add(lifetime),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageKeyEncipherment,
	}
	if group != "" {
		t.Subject.Organization = []string{group}
	}
	return t, nil
}

// sign returns a certificate and its key as PEM.
func (r Request) sign(a *authority, name, group string, dns []string) (cert, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	t, err := template(name, group)
	if err != nil {
		return nil, nil, err
	}
	t.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth, x509.ExtKeyUsageServerAuth}
	if len(dns) > 0 {
		t.DNSNames, t.IPAddresses = dns, r.IPs
	}
	der, err := x509.CreateCertificate(rand.Reader, t, a.cert, &private.PublicKey, a.key)
	if err != nil {
		return nil, nil, err
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), nil
}

func (r Request) issue(a *authority, file, name, group string, dns []string) error {
	cert, key, err := r.sign(a, name, group, dns)
	if err != nil {
		return err
	}
	return errors.Join(r.write(file+".crt", cert), r.write(file+".key", key))
}

func (r Request) kubeconfig(a *authority, id identity) error {
	cert, key, err := r.sign(a, id.user, id.group, nil)
	if err != nil {
		return err
	}
	b64 := base64.StdEncoding.EncodeToString
	return r.write(id.file+".kubeconfig", fmt.Appendf(nil, `apiVersion: v1
kind: Config
current-context: test
contexts:
- name: test
  context: {cluster: test, user: %[2]q}
clusters:
- name: test
  cluster:
    server: %[1]q
    certificate-authority-data: %[3]s
users:
- name: %[2]q
  user:
    client-certificate-data: %[4]s
    client-key-data: %[5]s
`, r.Server, id.user, b64(a.pem), b64(cert), b64(key)))
}

func (r Request) write(name string, content []byte) error {
	return os.WriteFile(filepath.Join(r.Dir, name), content, 0o600)
}
