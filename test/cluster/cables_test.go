// SPDX-License-Identifier: Apache-2.0

//go:build linux

package cluster

import (
	"fmt"
	"os"
	"testing"

	"github.com/vishvananda/netlink"
	"meshvm.io/meshvm/internal/requirement"
)

// TestRemoveLink removes a link that the kernel removed after it was found.
func TestRemoveLink(t *testing.T) {
	if os.Getuid() != 0 {
		requirement.Kernel.Unmet(t, "creating a link needs root")
	}
	name := fmt.Sprintf("mvm-t%d", os.Getpid())
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: name + "p"}); err != nil {
		t.Fatal(err)
	}
	link, err := netlink.LinkByName(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, when := range []string{"existing", "removed since it was found"} {
		if err := deleteLink(link); err != nil {
			t.Errorf("delete a link, %s: %v", when, err)
		}
	}
	if err := removeLink(name); err != nil {
		t.Errorf("remove a link that does not exist: %v", err)
	}
}
