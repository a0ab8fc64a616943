//go:build linux

package cluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"meshvm.io/meshvm/test/cluster/node"
)

// ImportImage gives the node the images of an archive, as package oci writes
// them. Pods use them with imagePullPolicy IfNotPresent.
func (c *Cluster) ImportImage(ctx context.Context, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close() //nolint:errcheck // only read
	var out, errs strings.Builder
	ctr := []string{"ctr", "--address", node.Socket, "--namespace", "k8s.io"}
	if err := c.NodeRun(ctx, Stdio{In: f, Out: &out, Err: &errs}, append(ctr, "images", "import", "-")...); err != nil {
		return fmt.Errorf("import %s: %w: %s", path, err, errs.String())
	}
	return nil
}

// imported is the file that remembers which archives the node has.
func (l layout) imported() string { return filepath.Join(l.state, "imported") }

// ImportImageOnce imports an archive unless this very file was imported before.
// The builder's archives have a digest of their contents in their names.
func (c *Cluster) ImportImageOnce(ctx context.Context, name, path string) error {
	raw, err := os.ReadFile(c.layout.imported())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if strings.Contains(string(raw), path+"\n") {
		return nil
	}
	c.Logf("importing images: %s", name)
	if err := c.ImportImage(ctx, path); err != nil {
		return err
	}
	return os.WriteFile(c.layout.imported(), append(raw, path+"\n"...), 0o644)
}
