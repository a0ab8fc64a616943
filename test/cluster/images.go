// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"meshvm.io/meshvm/test/cluster/node"
)

// ImportImage imports the images of an archive of package oci on every node. Pods
// use them with imagePullPolicy IfNotPresent.
func (c *Cluster) ImportImage(ctx context.Context, path string) error {
	if c.remote {
		return fmt.Errorf("import %s: %w", path, errRemote)
	}
	for _, m := range c.members {
		if err := c.importImage(ctx, m, path); err != nil {
			return fmt.Errorf("import %s on %s: %w", path, m.name, err)
		}
	}
	return nil
}

// unpacked matches the line that ctr prints for an imported image.
var unpacked = regexp.MustCompile(`unpacking (\S+):\S+ \((sha256:[0-9a-f]{64})\)`)

// importImage also tags each image with its digest, as if it had been pulled.
// KubeVirt uses the digest of the guest's image when it creates the target pod
// of a migration.
func (c *Cluster) importImage(ctx context.Context, m *member, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	var out, errs strings.Builder
	ctr := []string{"ctr", "--address", node.Socket, "--namespace", "k8s.io", "images"}
	if err := c.NodeRun(ctx, m.name, Stdio{In: f, Out: &out, Err: &errs}, append(ctr, "import", "-")...); err != nil {
		return fmt.Errorf("%w: %s", err, errs.String())
	}
	images := unpacked.FindAllStringSubmatch(out.String(), -1)
	if len(images) == 0 {
		return fmt.Errorf("ctr did not report an image: %s", out.String())
	}
	for _, i := range images {
		name, digest := i[1], i[2]
		tag := strings.TrimPrefix(strings.TrimSuffix(strings.TrimPrefix(i[0], "unpacking "), " ("+digest+")"), name)
		if _, err := c.NodeExec(ctx, m.name, append(ctr, "tag", "--force", name+tag, name+"@"+digest)...); err != nil {
			return err
		}
	}
	return nil
}

// imported returns the path of the file that lists the imported archives of a
// node.
func (m *member) imported() string { return filepath.Join(m.state, "imported") }

// ImportImageOnce imports an archive on each node to which the same path has
// not been imported yet. The names of the builder's archives contain a digest
// of their contents.
func (c *Cluster) ImportImageOnce(ctx context.Context, name, path string) error {
	if c.remote {
		return fmt.Errorf("import %s: %w", path, errRemote)
	}
	c.importing.Lock()
	defer c.importing.Unlock()
	for _, m := range c.members {
		raw, err := os.ReadFile(m.imported())
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		if strings.Contains(string(raw), path+"\n") {
			continue
		}
		c.Logf("importing images on %s: %s", m.name, name)
		if err := c.importImage(ctx, m, path); err != nil {
			return fmt.Errorf("import %s on %s: %w", path, m.name, err)
		}
		if err := os.WriteFile(m.imported(), []byte(remember(string(raw), path)), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// remember adds an archive to the list of imported archives. It replaces one that differs only
// in the digest: the images of both have the same names, so that the node has only the
// images of the last one. Two checkouts can use one cluster.
func remember(imported, path string) string {
	kind := func(path string) string { return path[:max(0, strings.LastIndex(path, "-"))] }
	var out strings.Builder
	for line := range strings.Lines(imported) {
		if kind(line) != kind(path) {
			out.WriteString(line)
		}
	}
	return out.String() + path + "\n"
}

// Digested returns the name with digest of an imported image. An image with
// this name is used without a registry.
func (c *Cluster) Digested(ctx context.Context, name string) (string, error) {
	out, err := c.NodeExec(ctx, c.first().name, "ctr", "--address", node.Socket, "--namespace", "k8s.io", "images", "list", "name=="+name)
	if err != nil {
		return "", err
	}
	digest := regexp.MustCompile("sha256:[0-9a-f]{64}").FindString(out)
	if digest == "" {
		return "", fmt.Errorf("image %s is not on the nodes", name)
	}
	return name[:strings.LastIndex(name, ":")] + "@" + digest, nil
}
