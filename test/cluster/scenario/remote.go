// SPDX-License-Identifier: Apache-2.0

//go:build linux

package scenario

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"meshvm.io/meshvm/test/cluster"
	"meshvm.io/meshvm/test/cluster/builder"
)

// Images are those of the scenario on a cluster that has none of the local
// cluster's images.
type Images struct {
	// Guest is the reference of the image builder.GuestImage in a registry. If
	// empty, guests boot Disk.
	Guest string
	// Disk is a containerDisk with cloud-init, Python 3 and an SSH server.
	Disk string
	// Client is the reference of the image builder.ClientImage in a registry. If
	// empty, the program of the clients is copied into pods of Shell.
	Client string
	// Shell is an image with sh and cat.
	Shell string
}

// Remote returns the scenario on an existing cluster.
func Remote(c *cluster.Cluster, images Images) *Scenario {
	return &Scenario{Cluster: c, images: &images, namespace: Namespace}
}

//go:embed guest.py
var guestProgram string

// guestSecret has the cloud-init data of guests that boot Images.Disk.
const guestSecret = "web-cloud-init"

func userData() string {
	return `#cloud-config
write_files:
- path: /opt/guest.py
  content: |
    ` + strings.ReplaceAll(strings.TrimSpace(guestProgram), "\n", "\n    ") + `
runcmd:
- [systemctl, start, sshd]
- [systemd-run, --unit=guest, python3, /opt/guest.py, "8080", "9000"]
`
}

// statsAnnotation makes the guest's proxy count the connections of its
// listeners, which Istio leaves out by default.
const statsAnnotation = `{"proxyStatsMatcher":{"inclusionRegexps":["listener\\..*_(15001|15006)\\..*"]}}`

// adapt changes the sample for a cluster that has none of the local images.
func (s *Scenario) adapt(objects []*unstructured.Unstructured) ([]*unstructured.Unstructured, error) {
	if s.images == nil {
		return objects, nil
	}
	for _, o := range objects {
		if o.GetKind() != "MeshedVirtualMachine" {
			continue
		}
		template := []string{"spec", "virtualMachine", "template"}
		at := func(path ...string) []string { return append(append([]string{}, template...), path...) }
		set := func(value any, path ...string) error {
			return unstructured.SetNestedField(o.Object, value, at(path...)...)
		}
		if err := set(statsAnnotation, "metadata", "annotations", "proxy.istio.io/config"); err != nil {
			return nil, err
		}
		if s.images.Guest != "" {
			if err := set(s.images.Guest, "spec", "domain", "firmware", "kernelBoot", "container", "image"); err != nil {
				return nil, err
			}
			continue
		}
		unstructured.RemoveNestedField(o.Object, at("spec", "domain", "firmware")...)
		for path, value := range map[string]any{
			"spec domain memory guest": "1Gi",
			"spec domain devices disks": []any{
				map[string]any{"name": "root", "disk": map[string]any{"bus": "virtio"}},
				map[string]any{"name": "cloud-init", "disk": map[string]any{"bus": "virtio"}},
			},
			"spec volumes": []any{
				map[string]any{"name": "root", "containerDisk": map[string]any{"image": s.images.Disk}},
				map[string]any{"name": "cloud-init", "cloudInitNoCloud": map[string]any{"secretRef": map[string]any{"name": guestSecret}}},
			},
		} {
			if err := set(value, strings.Fields(path)...); err != nil {
				return nil, err
			}
		}
		secret := &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "Secret", "stringData": map[string]any{"userdata": userData()},
		}}
		secret.SetName(guestSecret)
		secret.SetNamespace(o.GetNamespace())
		// The namespace is the first object.
		objects = append(objects[:1:1], append([]*unstructured.Unstructured{secret}, objects[1:]...)...)
	}
	return objects, nil
}

// clientContainer is the container of a client pod.
func (s *Scenario) clientContainer() corev1.Container {
	c := corev1.Container{Name: "client", Image: builder.ClientImage, ImagePullPolicy: corev1.PullIfNotPresent, Args: []string{"serve"}}
	if s.images == nil {
		return c
	}
	c.Image = s.images.Client
	if s.copiesClient() {
		c.Image, c.Args = s.images.Shell, nil
		c.Command = []string{"sh", "-c", "until [ -x " + copiedClient + " ]; do sleep 0.2; done; exec " + copiedClient + " serve"}
	}
	return c
}

// copiedClient is the path of the client's program in a pod of Images.Shell.
const copiedClient = "/tmp/netclient"

func (s *Scenario) copiesClient() bool { return s.images != nil && s.images.Client == "" }

// clientProgram is the path of the client's program in its pods.
func (s *Scenario) clientProgram() string {
	if s.copiesClient() {
		return copiedClient
	}
	return "/netclient"
}

// copyClient copies the client's program into a pod of Images.Shell.
func (s *Scenario) copyClient(ctx context.Context, pod *corev1.Pod) error {
	if !s.copiesClient() {
		return nil
	}
	var node corev1.Node
	if err := s.Get(ctx, client.ObjectKey{Name: pod.Spec.NodeName}, &node); err != nil {
		return err
	}
	program, err := s.Builder().ProgramFor(ctx, "./test/cluster/programs/netclient", node.Status.NodeInfo.Architecture)
	if err != nil {
		return err
	}
	f, err := os.Open(program)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	var errs strings.Builder
	err = s.Kubectl(ctx, cluster.Stdio{In: f, Err: &errs}, "-n", pod.Namespace, "exec", "-i", pod.Name, "-c", "client", "--",
		"sh", "-c", "cat >"+copiedClient+".new && chmod +x "+copiedClient+".new && mv "+copiedClient+".new "+copiedClient)
	if err != nil {
		return fmt.Errorf("copy the client's program into pod %s: %w: %s", pod.Name, err, errs.String())
	}
	return s.Wait(ctx, "the program of the client "+pod.Name, func(ctx context.Context) (string, error) {
		_, err := s.From(ctx, pod, "tcp", "127.0.0.1:7000")
		return "", err
	})
}

// HasOwnGuest reports whether guests boot builder.GuestImage, whose web server has
// more functions than the program in Images.Disk.
func (s *Scenario) HasOwnGuest() bool { return s.images == nil || s.images.Guest != "" }

// HasAccessLog reports whether the access log of proxies is in the format of
// manifests/istiod-values.yaml.
func (s *Scenario) HasAccessLog(ctx context.Context) (bool, error) {
	if s.images == nil {
		return true, nil
	}
	var mesh corev1.ConfigMap
	if err := s.Get(ctx, client.ObjectKey{Namespace: cluster.IstioNamespace, Name: "istio"}, &mesh); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	return strings.Contains(mesh.Data["mesh"], `"original": "%DOWNSTREAM_LOCAL_ADDRESS%"`), nil
}

// remoteStats reads counters of a pod's proxy through pilot-agent.
func (s *Scenario) remoteStats(ctx context.Context, pod *corev1.Pod, query string) (string, error) {
	var out, errs strings.Builder
	err := s.Kubectl(ctx, cluster.Stdio{Out: &out, Err: &errs}, "-n", pod.Namespace, "exec", pod.Name, "-c", "istio-proxy", "--",
		"pilot-agent", "request", "GET", "stats?"+query)
	if err != nil {
		return "", fmt.Errorf("counters of the proxy of %s: %w: %s", pod.Name, err, errs.String())
	}
	return out.String(), nil
}
