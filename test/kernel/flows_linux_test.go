// SPDX-License-Identifier: Apache-2.0

package kernel

import (
	_ "embed"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"meshvm.io/meshvm/internal/netns"
)

// The phases in which flows are sent.
const (
	before  = "before"
	started = "started"
	after   = "after"
)

// networkRules is the network of a flow that lists the rules.
const networkRules = "rules"

// flow is a paragraph of matrix.txt.
type flow struct {
	// repair names the defect that the flow demonstrates, if any.
	repair, name string
	// from, network and host are words of matrix.txt.
	from, network, host string
	port                uint16
	// family is the number of the only family, and plane the name of the only
	// data plane. Both are empty for all.
	family, plane string
	// ends are in the order of the file, by phase.
	ends map[string][]*end
}

// end is a line of matrix.txt that specifies the outcome of a flow.
type end struct {
	conditions []string
	text       string
}

//go:embed matrix.txt
var matrixText string

var readMatrix = sync.OnceValues(func() ([]*flow, error) { return parseMatrix(matrixText) })

// matrix returns the flows in matrix.txt.
func matrix(t testing.TB) []*flow {
	t.Helper()
	flows, err := readMatrix()
	if err != nil {
		t.Fatal(err)
	}
	return flows
}

func parseMatrix(text string) ([]*flow, error) {
	var flows []*flow
	for number, line := range strings.Split(text, "\n") {
		words := strings.TrimSpace(line)
		var err error
		switch indented := strings.HasPrefix(line, " "); {
		case words == "" || strings.HasPrefix(words, "#"):
		case !indented:
			flows = append(flows, heading(words))
		case len(flows) == 0:
			err = fmt.Errorf("%q does not belong to a flow", words)
		case flows[len(flows)-1].network == "":
			err = flows[len(flows)-1].opened(words)
		default:
			err = flows[len(flows)-1].ending(words)
		}
		if err != nil {
			return nil, fmt.Errorf("matrix.txt:%d: %w", number+1, err)
		}
	}
	return flows, nil
}

func heading(words string) *flow {
	f := &flow{name: words, ends: map[string][]*end{}}
	if repair, name, found := strings.Cut(words, ": "); found {
		f.repair, f.name = repair, name
	}
	return f
}

// opened parses the first line of a flow, for example "client tcp pod:8080".
func (x *flow) opened(words string) error {
	if words == networkRules {
		x.network = networkRules
		return nil
	}
	words, x.plane, _ = strings.Cut(words, " in ")
	fields := strings.Fields(words)
	if len(fields) != 3 {
		return fmt.Errorf("%q is not FROM NETWORK HOST:PORT", words)
	}
	network := strings.TrimRight(fields[1], ipv4.number+ipv6.number)
	host, port, _ := strings.Cut(fields[2], ":")
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return err
	}
	x.from, x.network, x.host, x.port = fields[0], network, host, uint16(n)
	x.family = strings.TrimPrefix(fields[1], network)
	return nil
}

// ending parses a line with an outcome, for example "before label, no-ports:
// refused".
func (x *flow) ending(words string) error {
	when, text, found := strings.Cut(words, ": ")
	phase, conditions, _ := strings.Cut(when, " ")
	if !found || phase != before && phase != started && phase != after {
		return fmt.Errorf("%q is not WHEN CONDITION, ...: END", words)
	}
	e := &end{text: text}
	if conditions != "" {
		e.conditions = strings.Split(conditions, ", ")
	}
	for _, c := range e.conditions {
		if !slices.ContainsFunc(columns(), func(col column) bool {
			return slices.ContainsFunc(col.families, func(f family) bool { return slices.Contains(col.words(f), c) })
		}) {
			return fmt.Errorf("no column matches %q", c)
		}
	}
	x.ends[phase] = append(x.ends[phase], e)
	return nil
}

// cell is a flow in a column with its expected outcome.
type cell struct {
	flow   *flow
	end    *end
	family family
	probe  probe
	want   outcome
}

// cells returns the cells of the matrix in one column.
func cells(t testing.TB, c column, when string) []cell {
	t.Helper()
	var out []cell
	for _, x := range matrix(t) {
		if x.plane != "" && x.plane != c.plane() {
			continue
		}
		for _, f := range c.families {
			if x.family != "" && x.family != f.number {
				continue
			}
			words := c.words(f)
			i := slices.IndexFunc(x.ends[when], func(e *end) bool {
				return !slices.ContainsFunc(e.conditions, func(w string) bool { return !slices.Contains(words, w) })
			})
			if i < 0 {
				if len(x.ends[when]) > 0 {
					t.Fatalf("matrix.txt does not specify the outcome of %q %s in %s", x.name, when, c)
				}
				continue
			}
			e := x.ends[when][i]
			p := x.probe(f)
			want, err := parseOutcome(e.text, p, f)
			if err != nil {
				t.Fatalf("matrix.txt, %q: %v", x.name, err)
			}
			out = append(out, cell{x, e, f, p, want})
		}
	}
	return out
}

// steady returns the cells of a lab whose plan does not change.
func steady(t testing.TB, c column) []cell {
	t.Helper()
	return slices.DeleteFunc(cells(t, c, after), func(x cell) bool {
		return len(x.flow.ends[started]) > 0 || x.flow.network == networkRules
	})
}

func (x *flow) probe(f family) probe {
	p := probe{name: x.name, network: networkRules, host: f.pod}
	if x.network != networkRules {
		from := map[string]func(*lab) *netns.Namespace{"client": fromPeer, "guest": fromGuest, "pod": fromPod}
		p = probe{name: x.name, from: from[x.from], network: x.network + f.number, host: f.address(x.host), port: x.port}
		if x.from == "kubelet" {
			p.from, p.source = fromPeer, f.kubelet
		}
		if x.network == "hbone" {
			p.network, p.tunnel = f.tcp(), true
		}
	}
	return p
}

// address returns the address of a word of matrix.txt.
func (f family) address(word string) string {
	return map[string]string{
		"client": f.peer, "guest": f.guest, "pod": f.pod, "outside": f.outside,
		"kubelet": f.kubelet, "excluded": f.excluded, "gateway": f.gateway, "loopback": f.loopback,
	}[word]
}

// end is the inverse of parseOutcome.
func (f family) end(o outcome, p probe) string {
	var text string
	switch {
	case o == unreadable:
		return "unreadable"
	case o == proven:
		return "proven"
	case o.Server != "":
		client := o.Client
		for _, word := range []string{"client", "kubelet", "guest", "pod", "gateway", "loopback"} {
			if f.address(word) == o.Client {
				client = word
			}
		}
		text = o.Server + " sees " + client
	default:
		text = strings.ReplaceAll(o.Failure, "-", " ")
	}
	if o.Proxy != "" {
		text = o.Proxy + ", " + text
		if o.Original != p.destination() {
			text += " (original destination " + o.Original + ")"
		}
	}
	return text
}

// parseOutcome parses an outcome in matrix.txt, for example "15006, guest sees
// gateway".
func parseOutcome(text string, p probe, f family) (outcome, error) {
	var o outcome
	if proxy, rest, found := strings.Cut(text, ", "); found {
		o.Proxy, o.Original, text = proxy, p.destination(), rest
	}
	switch server, client, sees := strings.Cut(text, " sees "); {
	case sees && f.address(client) == "":
		return o, fmt.Errorf("unknown client %q", client)
	case sees:
		o.Server, o.Client = server, f.address(client)
	case text == "refused":
		o.Failure = refused.Failure
	case text == "no answer":
		o.Failure = noAnswer.Failure
	case text == "unreadable":
		o = unreadable
	case text == "proven":
		o = proven
	default:
		return o, fmt.Errorf("%q is not an outcome", text)
	}
	return o, nil
}
