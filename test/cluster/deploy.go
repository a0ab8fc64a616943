//go:build linux

package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"encoding/base64"
	"encoding/hex"
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

// kubevirtNamespace is where KubeVirt's own pods are.
const kubevirtNamespace = "kubevirt"

// deploy applies KubeVirt, Istio's kinds and the injector stand-in, and waits
// until guests can be made.
func (c *Cluster) deploy(ctx context.Context) error {
	kv, err := c.builder.KubeVirtManifests(ctx)
	if err != nil {
		return err
	}
	istio, err := c.builder.IstioCRDs(ctx)
	if err != nil {
		return err
	}
	ca, err := os.ReadFile(filepath.Join(c.layout.state, node.PKIDir, "ca.crt"))
	if err != nil {
		return err
	}
	values := map[string]string{
		"Image": builder.KubeVirtImage, "RootImage": builder.KubeVirtRootImage, "Version": kv.Version,
		"InjectorPort": node.InjectorPort, "CABundle": base64.StdEncoding.EncodeToString(ca),
	}
	operator, err := render("virt-operator.yaml", values)
	if err != nil {
		return err
	}
	kubevirt, err := render("kubevirt.yaml", values)
	if err != nil {
		return err
	}
	injector, err := render("injector.yaml", values)
	if err != nil {
		return err
	}
	for _, m := range []struct {
		what string
		yaml []byte
	}{
		{"KubeVirt's operator", bytes.Join([][]byte{operator, kv.CRD, kv.RBAC}, []byte("\n---\n"))},
		{"KubeVirt", kubevirt},
		{"Istio's kinds", istio},
		{"the injector stand-in", injector},
	} {
		if err := c.applyOnce(ctx, m.what, m.yaml); err != nil {
			return err
		}
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

// applyOnce applies a manifest unless the cluster has it from an earlier run.
func (c *Cluster) applyOnce(ctx context.Context, what string, manifest []byte) error {
	sum := sha256.Sum256(manifest)
	mark := hex.EncodeToString(sum[:]) + "\n"
	file := filepath.Join(c.layout.state, "applied")
	raw, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if strings.Contains(string(raw), mark) {
		return nil
	}
	c.Logf("applying %s", what)
	if err := c.ApplyManifest(ctx, manifest); err != nil {
		return err
	}
	return os.WriteFile(file, append(raw, mark...), 0o644)
}

// kubevirtReady waits for the three programs that guests need, started in this
// run of the node. The condition Available of the KubeVirt object comes later
// and is not needed.
func (c *Cluster) kubevirtReady(ctx context.Context) error {
	return c.Wait(ctx, "KubeVirt", func(ctx context.Context) (string, error) {
		var missing []string
		for _, name := range []string{"virt-operator", "virt-api", "virt-controller", "virt-handler"} {
			state, err := c.PodState(ctx, kubevirtNamespace, "kubevirt.io", name)
			if err != nil {
				return "", err
			}
			if state != "" {
				missing = append(missing, name+" "+state)
			}
		}
		return strings.Join(missing, ", "), nil
	})
}

// PodState says what is missing of the pods with a label, empty when one is
// ready whose containers were all started in this run of the node.
func (c *Cluster) PodState(ctx context.Context, namespace, label, value string) (string, error) {
	var pods corev1.PodList
	err := c.List(ctx, &pods, client.InNamespace(namespace), client.MatchingLabels{label: value})
	if err != nil {
		return "", err
	}
	state := "(no pod)"
	for i := range pods.Items {
		p := &pods.Items[i]
		if p.DeletionTimestamp != nil {
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
	for _, s := range p.Status.ContainerStatuses {
		if s.State.Running == nil || !c.sinceStart(s.State.Running.StartedAt.Time) {
			return false
		}
	}
	for _, cond := range p.Status.Conditions {
		if cond.Type == corev1.PodReady {
			return cond.Status == corev1.ConditionTrue
		}
	}
	return false
}

// reason is a word or two on why a pod is not ready.
func reason(p *corev1.Pod) string {
	for _, s := range append(p.Status.InitContainerStatuses, p.Status.ContainerStatuses...) {
		if s.State.Waiting != nil && s.State.Waiting.Reason != "" {
			return s.State.Waiting.Reason
		}
	}
	return string(p.Status.Phase)
}
