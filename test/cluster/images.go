package cluster

import (
	"context"
	"fmt"
	"os"
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
