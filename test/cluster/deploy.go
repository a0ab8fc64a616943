// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster/builder"
	"meshvm.io/meshvm/test/cluster/node"
)

//go:embed manifests
var manifests embed.FS

// MonitoringKinds returns stand-ins for the CRDs of the Prometheus operator.
// The operator's bundle contains objects of these kinds, and OLM installs a
// bundle only if all its kinds exist.
func MonitoringKinds() ([]byte, error) { return manifests.ReadFile("manifests/monitoring.yaml") }

// kubevirtNamespace is the namespace of KubeVirt's pods.
const kubevirtNamespace = "kubevirt"

// deployDNS applies the cluster's DNS.
func (c *Cluster) deployDNS(ctx context.Context) error {
	manifest, err := render("coredns.yaml", map[string]string{"CoreDNSImage": builder.CoreDNSImage, "DNS": node.DNSAddress})
	if err != nil {
		return err
	}
	return c.applyOnce(ctx, "the cluster's DNS", manifest)
}

// deployKubeVirt applies KubeVirt and waits until guests can be started.
func (c *Cluster) deployKubeVirt(ctx context.Context) error {
	kv, err := c.builder.KubeVirtManifests(ctx)
	if err != nil {
		return err
	}
	values := map[string]string{"Image": builder.KubeVirtImage, "RootImage": builder.KubeVirtRootImage, "Version": kv.Version}
	operator, err := render("virt-operator.yaml", values)
	if err != nil {
		return err
	}
	kubevirt, err := render("kubevirt.yaml", values)
	if err != nil {
		return err
	}
	if err := c.applyOnce(ctx, "KubeVirt's operator", bytes.Join([][]byte{operator, kv.CRD, kv.RBAC}, []byte("\n---\n"))); err != nil {
		return err
	}
	if err := c.applyOnce(ctx, "KubeVirt", kubevirt); err != nil {
		return err
	}
	return c.kubevirtReady(ctx)
}

func render(name string, values any) ([]byte, error) {
	t, err := template.ParseFS(manifests, "manifests/"+name)
	if err != nil {
		return nil, err
	}
	var out bytes.Buffer
	err = t.Execute(&out, values)
	return out.Bytes(), err
}

// applyOnce applies a manifest unless the same manifest was applied before under
// that name.
func (c *Cluster) applyOnce(ctx context.Context, what string, manifest []byte) error {
	sum := sha256.Sum256(manifest)
	mark := hex.EncodeToString(sum[:])
	file := filepath.Join(c.layout.state, "applied.json")
	read := func() (map[string]string, error) {
		applied := map[string]string{}
		raw, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) {
			return applied, nil
		}
		if err != nil {
			return nil, err
		}
		return applied, json.Unmarshal(raw, &applied)
	}
	c.mu.Lock()
	applied, err := read()
	c.mu.Unlock()
	if err != nil || applied[what] == mark {
		return err
	}
	c.Logf("applying %s", what)
	if err := c.ApplyManifest(ctx, manifest); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if applied, err = read(); err != nil {
		return err
	}
	applied[what] = mark
	raw, err := json.Marshal(applied)
	if err != nil {
		return err
	}
	return os.WriteFile(file, raw, 0o644)
}

// kubevirtReady waits for KubeVirt's pods that were started in this run of their
// nodes. The condition Available of the KubeVirt object follows later and is not
// necessary.
func (c *Cluster) kubevirtReady(ctx context.Context) error {
	return c.Wait(ctx, "KubeVirt", func(ctx context.Context) (string, error) {
		var missing []string
		want := []struct{ name, node string }{{"virt-operator", ""}, {"virt-api", ""}, {"virt-controller", ""}}
		for _, m := range c.members {
			want = append(want, struct{ name, node string }{"virt-handler", m.name})
		}
		for _, w := range want {
			state, err := c.podState(ctx, w.node, kubevirtNamespace, "kubevirt.io", w.name)
			if err != nil {
				return "", err
			}
			if state != "" {
				missing = append(missing, strings.TrimSpace(w.name+" "+w.node)+" "+state)
			}
		}
		return strings.Join(missing, ", "), nil
	})
}

// PodState describes why no pod with a label is ready. It returns an empty
// string if a pod is ready and all of its containers were started in this run
// of its node.
func (c *Cluster) PodState(ctx context.Context, namespace, label, value string) (string, error) {
	return c.podState(ctx, "", namespace, label, value)
}

// podState is PodState for the pods on one node, or on all nodes if node is
// empty.
func (c *Cluster) podState(ctx context.Context, node, namespace, label, value string) (string, error) {
	var pods corev1.PodList
	err := c.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{label: value})
	if err != nil {
		return "", err
	}
	state := "(no pod)"
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.DeletionTimestamp != nil || (node != "" && p.Spec.NodeName != node) {
			continue
		}
		if c.podReady(p) {
			return "", nil
		}
		state = fmt.Sprintf("(%s)", reason(p))
	}
	return state, nil
}

func (c *Cluster) podReady(p *corev1.Pod) bool {
	if !c.remote {
		m, err := c.member(p.Spec.NodeName)
		if err != nil {
			return false // not scheduled yet
		}
		for _, s := range p.Status.ContainerStatuses {
			if s.State.Running == nil || !m.sinceStart(s.State.Running.StartedAt.Time) {
				return false
			}
		}
	}
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

// reason returns the reason why a pod is not ready.
func reason(p *corev1.Pod) string {
	for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		if s.State.Waiting != nil && s.State.Waiting.Reason != "" {
			return s.State.Waiting.Reason
		}
	}
	return string(p.Status.Phase)
}
