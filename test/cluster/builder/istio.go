// SPDX-License-Identifier: Apache-2.0

//go:build linux

package builder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"meshvm.io/meshvm/hack/images/oci"
)

// Images of Istio and of the cluster's DNS. Istio's charts build the names of
// images from the hub, a fixed name and the tag.
const (
	IstioHub     = "localhost/meshvm-test"
	IstioTag     = "dev"
	CoreDNSImage = IstioHub + "/coredns:dev"
	// IstioProxy is the name of the proxy's image with Envoy, StandInProxy the name
	// of the image with the stand-in.
	IstioProxy   = "proxyv2"
	StandInProxy = "proxy-stand-in"
)

// MeshImages returns the path of an archive with the images of istiod, of the
// proxy and of CoreDNS. proxy is the name of the proxy's image: IstioProxy, or
// StandInProxy if Envoy is not available.
func (b *Builder) MeshImages(ctx context.Context) (path, proxy string, err error) {
	proxy = IstioProxy
	envoy, err := b.Envoy(ctx)
	if errors.Is(err, ErrNoEnvoy) {
		b.Logf("using a stand-in for Istio's proxy: %v", err)
		proxy = StandInProxy
		envoy, err = b.Program(ctx, "./test/cluster/programs/proxystandin")
	}
	if err != nil {
		return "", "", err
	}
	base, err := b.baseLayer(ctx)
	if err != nil {
		return "", "", err
	}
	istio, err := b.moduleDir(ctx, istioModule, "istio.io/istio")
	if err != nil {
		return "", "", err
	}
	programs := map[string]string{}
	for _, name := range []string{"pilot-agent", "pilot-discovery", "coredns"} {
		if programs[name], err = b.Tool(ctx, name); err != nil {
			return "", "", err
		}
	}
	sum, err := fileDigest(envoy)
	if err != nil {
		return "", "", err
	}
	inputs := []string{base, sum, proxy, istio, programs["pilot-agent"], programs["pilot-discovery"], programs["coredns"], "1"}
	path, err = b.product(ctx, "images/mesh", inputs, func(_ context.Context, path string) error {
		layer := path + ".layer"
		defer os.Remove(layer) //nolint:errcheck // it is in the archive
		// The paths are those of pilot/docker/Dockerfile.proxyv2 of Istio.
		err := oci.WriteLayer(layer, func(l *oci.Layer) error {
			return errors.Join(
				l.File("usr/local/bin/pilot-agent", 0o755, programs["pilot-agent"]),
				l.File("usr/local/bin/envoy", 0o755, envoy),
				l.File("var/lib/istio/envoy/envoy_bootstrap_tmpl.json", 0o644,
					filepath.Join(istio, "tools/packaging/common/envoy_bootstrap.json")),
			)
		})
		if err != nil {
			return err
		}
		images := []oci.Image{{
			Name: IstioHub + "/" + proxy + ":" + IstioTag, User: "1337:1337",
			Entrypoint: []string{"/usr/local/bin/pilot-agent"}, Layers: []string{base, layer},
		}}
		for name, reference := range map[string]string{
			"pilot-discovery": IstioHub + "/pilot:" + IstioTag, "coredns": CoreDNSImage,
		} {
			image, err := oneProgram(path+"."+name, "usr/local/bin/"+name, programs[name])
			if err != nil {
				return err
			}
			defer os.Remove(image.Layers[0]) //nolint:errcheck // it is in the archive
			image.Name, image.User = reference, "1337:1337"
			images = append(images, image)
		}
		return oci.WriteFile(path, images...)
	})
	return path, proxy, err
}

// oneProgram returns an image with one static program at a path.
func oneProgram(layer, at, program string) (oci.Image, error) {
	err := oci.WriteLayer(layer, func(l *oci.Layer) error {
		return errors.Join(l.Dir("tmp", 0o1777), l.File(at, 0o755, program))
	})
	return oci.Image{Entrypoint: []string{"/" + at}, Layers: []string{layer}}, err
}

// IstioChart renders one of Istio's charts, for example
// istio-control/istio-discovery, for the namespace istio-system.
func (b *Builder) IstioChart(ctx context.Context, chart string, values []byte) ([]byte, error) {
	program, err := b.Tool(ctx, "charts")
	if err != nil {
		return nil, err
	}
	kubernetes, err := b.moduleVersion(ctx, kubernetesModule, "k8s.io/kubernetes")
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, program, "istio-system", chart, kubernetes)
	cmd.Stdin = bytes.NewReader(values)
	out, err := capture(cmd)
	if err != nil {
		return nil, fmt.Errorf("render Istio's chart %s: %w", chart, err)
	}
	return []byte(out), nil
}

// Versions returns the cluster's components as "name version".
func (b *Builder) Versions(ctx context.Context) ([]string, error) {
	var out []string
	for _, m := range []struct{ name, module, path string }{
		{"Kubernetes", kubernetesModule, "k8s.io/kubernetes"},
		{"etcd", kubernetesModule, "go.etcd.io/etcd/server/v3"},
		{"KubeVirt", kubevirtModule, "kubevirt.io/kubevirt"},
		{"CoreDNS", corednsModule, "github.com/coredns/coredns"},
		{"Istio (module)", istioModule, "istio.io/istio"},
	} {
		version, err := b.moduleVersion(ctx, m.module, m.path)
		if err != nil {
			return nil, err
		}
		out = append(out, m.name+" "+version)
	}
	istio, err := b.IstioVersion(ctx)
	if err != nil {
		return nil, err
	}
	out = append(out, "Istio "+istio)
	envoy, err := b.Envoy(ctx)
	if errors.Is(err, ErrNoEnvoy) {
		return append(out, "Envoy: a stand-in"), nil
	}
	if err != nil {
		return nil, err
	}
	version, err := output(ctx, "", nil, envoy, "--version")
	if _, number, ok := strings.Cut(version, "version: "); ok {
		version = number
	}
	return append(out, "Envoy "+strings.TrimSpace(version)), err
}
