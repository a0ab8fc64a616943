// SPDX-License-Identifier: Apache-2.0

package status

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Text returns the result for a terminal.
func (r Result) Text() string {
	var b strings.Builder
	fmt.Fprintln(&b, r.Verdict)
	if len(r.Machines) == 1 && r.Machines[0].Objects != nil {
		r.Machines[0].write(&b)
	} else {
		writeList(&b, r.Machines)
	}
	fmt.Fprintln(&b, "next:", r.Next)
	return b.String()
}

// writeList writes a line for each machine.
func writeList(b *strings.Builder, machines []Machine) {
	if len(machines) == 0 {
		return
	}
	w := tabwriter.NewWriter(b, 0, 0, 3, ' ', 0)
	fmt.Fprintln(w, "NAMESPACE\tNAME\tREADY\tREASON\tVM\tMTLS\tNAT\tNEXT TO ACT")
	for _, m := range machines {
		turn := "-"
		if m.Blocker != nil {
			turn = string(m.Blocker.Turn)
		} else if len(m.Notices) > 0 {
			turn = string(m.Notices[0].Turn)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", m.Namespace, m.Name, m.Ready, m.Reason, m.VirtualMachine, m.MTLS, m.NAT, turn)
	}
	_ = w.Flush() // A strings.Builder returns no error.
}

func (m Machine) write(b *strings.Builder) {
	for _, pause := range m.Pauses {
		fmt.Fprintln(b, "paused:", pause)
	}
	if m.Blocker != nil {
		m.Blocker.write(b, "blocked by")
	}
	for _, n := range m.Notices {
		n.write(b, "notice")
	}
	fmt.Fprintf(b, "\nMeshedVirtualMachine %s/%s: Ready %s (%s), VM %s, mutual TLS %s, NAT %s\n",
		m.Namespace, m.Name, m.Ready, m.Reason, m.VirtualMachine, m.MTLS, m.NAT)
	writeTree(b, "", m.Objects)
	for _, kind := range m.Unreadable {
		fmt.Fprintln(b, "not permitted to read:", kind)
	}
	fmt.Fprintln(b)
}

func (c Blocker) write(b *strings.Builder, label string) {
	fmt.Fprintf(b, "%s: %s (%s) since %s: %s\n", label, c.Condition, c.Reason, c.Since.UTC().Format(time.RFC3339), c.Message)
	fmt.Fprintln(b, "  next to act:", c.Turn)
}

func writeTree(b *strings.Builder, indent string, nodes []Node) {
	for i, n := range nodes {
		branch, below := "├─ ", "│  "
		if i == len(nodes)-1 {
			branch, below = "└─ ", "   "
		}
		fmt.Fprintf(b, "%s%s%s %s: %s\n", indent, branch, n.Kind, n.Name, n.State)
		writeTree(b, indent+below, n.Children)
	}
}
