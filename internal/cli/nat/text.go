// SPDX-License-Identifier: Apache-2.0

package nat

import (
	"fmt"
	"strings"
	"time"
)

// Text returns the result for a terminal.
func (r Result) Text() string {
	var b strings.Builder
	fmt.Fprintln(&b, r.Verdict)
	for _, p := range r.Pods {
		p.write(&b)
	}
	if len(r.Defects) > 0 {
		fmt.Fprintln(&b, "\nDefects of the rules of KubeVirt and Istio that these rules correct:")
	}
	for _, d := range r.Defects {
		fmt.Fprintf(&b, "  %s: %s\n", d.Name, d.Summary)
	}
	if len(r.Pods) > 0 {
		fmt.Fprintln(&b)
	}
	fmt.Fprintln(&b, "next:", r.Next)
	return b.String()
}

func (p Pod) write(b *strings.Builder) {
	fmt.Fprintf(b, "\nPod %s, PodNATConfiguration %s\n", p.Name, p.Configuration)
	if p.Difference != "" {
		fmt.Fprintln(b, "  difference:", p.Difference)
	}
	fmt.Fprintf(b, "  wanted:    %d rules, digest %s\n", p.Wanted.Rules, p.Wanted.Digest)
	if r := p.ReadBack; r != nil {
		fmt.Fprintf(b, "  read back: %d rules, digest %s, on node %s at %s\n", r.Rules, r.Digest, r.Node, stamp(r.Time.Time))
		fmt.Fprintf(b, "  counters:  %d connections to the proxy, %d direct connections, %d dropped packets\n", r.Captured, r.Direct, r.Dropped)
	}
	if r := p.Repairs; r != nil {
		fmt.Fprintf(b, "  repairs:   %d, last %s at %s: %s\n", r.Count, r.Reason, stamp(r.Time.Time), r.Message)
	}
	for _, s := range p.Wanted.Sets {
		fmt.Fprintf(b, "  set %s: %s\n", s.Name, strings.Join(s.Elements, ", "))
	}
	for _, c := range p.Wanted.Chains {
		fmt.Fprintf(b, "  chain %s (hook %s, priority %d)\n", c.Name, c.Hook, c.Priority)
		for _, r := range c.Rules {
			fmt.Fprintln(b, "    "+r.Text)
			if len(r.Defects) > 0 {
				fmt.Fprintln(b, "      corrects:", strings.Join(r.Defects, ", "))
			}
		}
	}
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
